//! The role that parses what comes from the jail: proxy, DNS stub, rules, records. It runs
//! under a user id of its own, without capabilities, and holds neither the jail's kernel objects
//! (save the flow map and the jail's kill switch) nor any file but its log.

use std::{
    fs::File,
    io::{self, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsRawFd, RawFd, AsFd},
    sync::Arc,
    thread,
};

use super::control::{Channel, Ports, Ready, RemoteInspector};
use crate::{
    backend::linux::flows::Flows,
    dns,
    policy::Process,
    proxy::{self, Flow, FlowTable},
    record::{LogFile, Recorder},
    rules::Rules,
    tls, upstream,
};

/// The first of the user ids that proxies live under: the range that systemd keeps for dynamic
/// users (61184–65519), which no account of a person or a package has.
const UID_FIRST: u32 = 61184;
const UID_COUNT: u32 = 65519 - 61184 + 1;

/// All that the role needs, made by the supervisor before the fork.
pub(super) struct ProxyRole {
    /// Ready goes out; "stop" or end of file comes in.
    pub(super) control: Channel,
    /// Questions about processes.
    pub(super) inspect: Channel,
    /// The jail's `cgroup.kill`, to end the jail when the supervisor is dead.
    pub(super) kill_switch: File,
    /// The request log.
    pub(super) log: Option<LogFile>,
    /// The checked rules.
    pub(super) rules: Rules,
    /// How to reach origins.
    pub(super) upstream: upstream::Options,
    /// The kernel's notes on connections.
    pub(super) flows: Flows,
}

impl ProxyRole {
    /// The descriptors that the role keeps across the fork.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let mut fds = vec![
            self.control.as_fd().as_raw_fd(),
            self.inspect.as_fd().as_raw_fd(),
            self.kill_switch.as_raw_fd(),
            self.flows.as_fd().as_raw_fd(),
        ];
        fds.extend(self.log.as_ref().map(|log| log.as_fd().as_raw_fd()));
        fds
    }

    /// The role's life; the result is its exit status.
    pub(super) fn main(self) -> u8 {
        match self.serve() {
            Ok(()) => 0,
            Err(error) => {
                tracing::error!(error, "the proxy failed");
                1
            }
        }
    }

    /// Listens, reports, serves until the supervisor says stop, and writes the last records.
    fn serve(self) -> Result<(), Box<dyn std::error::Error>> {
        raise_descriptor_limit();
        let proxy4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let proxy6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).ok();
        let dns4 = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let dns6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).ok();
        let authority = tls::Authority::new()?;
        let ready = Ready {
            proxy: ports(proxy4.local_addr()?, proxy6.as_ref().map(TcpListener::local_addr)),
            dns: ports(dns4.local_addr()?, dns6.as_ref().map(UdpSocket::local_addr)),
            ca_pem: authority.certificate_pem().to_owned(),
        };
        self.control.send(&ready.encode())?;
        todo_serve(self, proxy4, proxy6, dns4, dns6, authority)
    }
}

/// The ports of two sockets on the loopback addresses.
fn ports(v4: SocketAddr, v6: Option<io::Result<SocketAddr>>) -> Ports {
    Ports { v4: v4.port(), v6: v6.and_then(Result::ok).map(|address| address.port()) }
}

/// As many descriptors as the hard limit gives: each proxied connection takes two.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// A user id that nobody else has: neither the jailed user nor, as far as can be, the proxies of
/// other jails, which must not signal or trace each other.
pub(super) fn uid(jailed: Option<u32>) -> u32 {
    let own = UID_FIRST + std::process::id() % UID_COUNT;
    if jailed == Some(own) { UID_FIRST + (own - UID_FIRST + 1) % UID_COUNT } else { own }
}
