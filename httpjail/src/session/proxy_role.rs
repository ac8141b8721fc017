//! The role that parses what comes from the jail: proxy, DNS stub, rules, records. It runs
//! under a user id of its own, without capabilities, and holds neither the jail's kernel objects
//! (save the flow map and the jail's kill switch) nor any file but its log. It confines itself by
//! Landlock and seccomp before it says that it is ready.

use std::{
    fs::File,
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, AsRawFd, RawFd},
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use super::{
    control::{Channel, RULE, Ready, STOP, Stop},
    inspect::RemoteInspector,
    refused::Refused,
    servers::Servers,
    service::{Place, Service},
    serving::{TcpStub, raise_descriptor_limit, serve_dns},
};
use crate::{
    backend::linux::{confine::confine, flows::Flows},
    dns,
    policy::{Process, ProcessInspector, RunFacts},
    proxy::{self, Aim, Flow, FlowTable},
    rules::Reload,
    tls,
};

/// The first of the user ids that proxies live under: the range that systemd keeps for dynamic
/// users (61184–65519), which no account of a person or a package has.
const UID_FIRST: u32 = 61184;
const UID_COUNT: u32 = 65519 - 61184 + 1;

/// All that the role needs, made by the supervisor before the fork.
pub(super) struct ProxyRole {
    /// Ready goes out; [`STOP`] or end of file comes in, and the former is repeated.
    pub(super) control: Channel,
    /// Questions about processes.
    pub(super) inspect: Channel,
    /// The run's id.
    pub(super) run_id: String,
    /// The sockets to serve, marked as the jail's.
    pub(super) servers: Servers,
    /// What the jail's init says first, and is told.
    pub(super) canary: proxy::Canary,
    /// The jail's `cgroup.kill`, to end the jail when the supervisor is dead.
    pub(super) kill_switch: File,
    /// What it serves by.
    pub(super) service: Service,
    /// The file that the rule is from, if it is from one.
    pub(super) rule_file: Option<PathBuf>,
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
        fds.extend(self.servers.descriptors());
        fds.extend(self.service.descriptors());
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

    /// Makes the authority, reports, serves until the supervisor says stop, and writes the last
    /// records.
    fn serve(self) -> Result<(), Box<dyn std::error::Error>> {
        raise_descriptor_limit();
        let authority = tls::Authority::new()?;
        let extent = confine(&named_certificates())?;
        tracing::debug!(?extent, "the proxy is confined");
        self.control.send(Ready { ca_pem: authority.certificate_pem() }.encode())?;
        let rule = self.service.rules.javascript().zip(self.rule_file);
        let service = self.service.start()?;
        let names = Arc::new(dns::Names::recorded(service.recorder().clone()));
        let stub = dns::Stub::new(Arc::clone(&names));
        let known = Arc::clone(&names);
        let (stopped, stop) = io::pipe()?;
        let reload = rule.map(|(rule, file)| Reload::new(rule, file));
        let refused = Told::default();
        watch(self.control, self.kill_switch, stop, (reload, Arc::clone(&refused)))?;
        serve_dns(stub.clone(), self.servers.dns)?;
        let processes = Arc::new(RemoteInspector::new(self.inspect)?);
        let place = Place {
            listeners: self.servers.proxy,
            flows: Arc::new(JailFlows(self.flows)),
            canary: self.canary,
            names,
            dns_tcp: Arc::new(TcpStub(stub)),
            authority: Arc::new(authority),
            inspector: Arc::clone(&processes) as Arc<dyn ProcessInspector>,
            run: RunFacts { jail: Some(self.run_id), processes },
            drain: Duration::ZERO,
            shut: None,
        };
        let refused = move || refused.get().map(|it| it.records(&*known)).unwrap_or_default();
        Ok(service.serve(place, stopped, refused)?)
    }
}

/// What the kernel side refused, once the supervisor has told.
type Told = Arc<OnceLock<Refused>>;

/// Waits for the supervisor's word on a thread of its own, and reads the rule anew when told to. If
/// the supervisor dies, the jail is ended, and this process with it (P3).
fn watch(
    control: Channel,
    mut kill_switch: File,
    stop: io::PipeWriter,
    (mut reload, refused): (Option<Reload>, Told),
) -> io::Result<()> {
    let wait = move || loop {
        match control.receive_files() {
            Ok((word, files)) if word == RULE => {
                for (reload, file) in reload.iter_mut().zip(files) {
                    reload.read(file.into());
                }
            }
            Ok((word, _)) if word.starts_with(STOP) => {
                let word = Stop::decode(&word).map(|word| word.refused);
                refused.get_or_init(|| word.unwrap_or_default());
                // A supervisor that is gone by now waits for nothing.
                let _ = control.send(STOP);
                return drop(stop);
            }
            Ok(_) | Err(_) => {
                let killed = kill_switch.write_all(b"1");
                tracing::error!(?killed, "the supervisor is dead; the jail was ended");
                return drop(stop);
            }
        }
    };
    thread::Builder::new().name("supervisor".to_owned()).spawn(wait).map(drop)
}

/// The kernel's notes as the proxy reads them.
struct JailFlows(Flows);

impl FlowTable for JailFlows {
    fn take(&self, _stream: &TcpStream, client: SocketAddr) -> io::Result<Option<Flow>> {
        let noted = self.0.take(client)?;
        Ok(noted.map(|noted| Flow {
            original: noted.original,
            aim: Aim::Elsewhere,
            process: Some(Process { pid: noted.pid, uid: noted.uid, comm: noted.comm }),
        }))
    }
}

/// Where the caller keeps the roots, if somewhere else than the system does.
pub(super) fn named_certificates() -> Vec<PathBuf> {
    let named = |variable| std::env::var_os(variable).unwrap_or_default();
    let files = std::iter::once(PathBuf::from(named("SSL_CERT_FILE")));
    let folders = named("SSL_CERT_DIR");
    files.chain(std::env::split_paths(&folders)).filter(|path| path.is_absolute()).collect()
}

/// A user id for a proxy without a relay.
pub(super) fn own_uid(served: Option<u32>) -> u32 {
    let [own, _] = uids(served);
    own
}

/// User ids for proxy and relay that nobody else has: neither the jailed user nor, as far as can be,
/// the roles of other jails, which must not signal or trace each other.
pub(super) fn uids(jailed: Option<u32>) -> [u32; 2] {
    let pair = std::process::id() % (UID_COUNT / 2);
    let uids = |pair| [UID_FIRST + 2 * pair, UID_FIRST + 2 * pair + 1];
    let own = uids(pair);
    match jailed {
        Some(jailed) if own.contains(&jailed) => uids((pair + 1) % (UID_COUNT / 2)),
        _ => own,
    }
}
