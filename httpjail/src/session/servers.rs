//! The sockets at which the jail is served: made by the supervisor, marked as the jail's own, and
//! handed to the proxy role, which holds no right to mark any.

#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
};

use httpjail_common::jail::{MAX_PUBLISHED, Published};

#[cfg(target_os = "linux")]
use crate::backend::linux::Endpoints;

/// Listening sockets on 127.0.0.1 and, where there is IPv6, on `::1`.
#[derive(Debug)]
pub(super) struct Servers {
    /// The proxy's.
    pub(super) proxy: Vec<TcpListener>,
    /// The DNS stub's.
    pub(super) dns: Vec<UdpSocket>,
}

impl Servers {
    /// Binds them to ports that the kernel chooses. TCP ones are none of `published`, which are the
    /// command's to bind.
    ///
    /// # Errors
    ///
    /// When 127.0.0.1 has no port left, or `::1` has one for the proxy and none for the stub.
    pub(super) fn bind(published: Published) -> io::Result<Self> {
        let mut proxy = vec![listen(Ipv4Addr::LOCALHOST.into(), published)?];
        let mut dns = vec![UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?];
        if let Ok(listener) = listen(Ipv6Addr::LOCALHOST.into(), published) {
            proxy.push(listener);
            dns.push(UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))?);
        }
        Ok(Self { proxy, dns })
    }

    /// The ports of the proxy and of the stub on 127.0.0.1 and, where they listen there, on `::1`.
    ///
    /// # Errors
    ///
    /// What `getsockname(2)` says.
    pub(super) fn ports(&self) -> io::Result<Ports> {
        let tcp = self.proxy.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let udp = self.dns.iter().map(UdpSocket::local_addr).collect::<io::Result<Vec<_>>>()?;
        let missing = || io::Error::other("no socket is bound");
        let (proxy_v4, proxy_v6) = ports(&tcp).ok_or_else(missing)?;
        let (dns_v4, dns_v6) = ports(&udp).ok_or_else(missing)?;
        Ok(Ports { proxy_v4, proxy_v6, dns_v4, dns_v6 })
    }
}

/// Where the servers listen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) proxy_v4: u16,
    pub(super) proxy_v6: Option<u16>,
    pub(super) dns_v4: u16,
    pub(super) dns_v6: Option<u16>,
}

#[cfg(target_os = "linux")]
impl Servers {
    /// Where they listen, for the kernel side.
    ///
    /// # Errors
    ///
    /// What `getsockname(2)` says.
    pub(super) fn endpoints(&self) -> io::Result<Endpoints> {
        let Ports { proxy_v4, proxy_v6, dns_v4, dns_v6 } = self.ports()?;
        Ok(Endpoints { proxy_v4, proxy_v6, dns_v4, dns_v6 })
    }

    /// All of them.
    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.proxy.iter().map(AsFd::as_fd).chain(self.dns.iter().map(AsFd::as_fd))
    }

    /// Their numbers, for the fork.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.sockets().map(|socket| socket.as_raw_fd())
    }
}

/// How many connections may wait to be accepted. The standard library's 128 are too few for a burst: what
/// doesn't fit is sent again after a second. The kernel takes less, if `net.core.somaxconn` says so.
pub(super) const BACKLOG: i32 = 4096;

/// Listens at a port that the kernel chooses, but at none of `published`.
fn listen(address: IpAddr, published: Published) -> io::Result<TcpListener> {
    // Kept until a port is found, so that each try brings another one.
    let mut unfit = Vec::new();
    while unfit.len() <= MAX_PUBLISHED {
        let listener = TcpListener::bind((address, 0))?;
        if !published.has(listener.local_addr()?.port().into()) {
            rustix::net::listen(&listener, BACKLOG)?;
            return Ok(listener);
        }
        unfit.push(listener);
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// The ports of the sockets on 127.0.0.1 and on `::1`.
fn ports(bound: &[SocketAddr]) -> Option<(u16, Option<u16>)> {
    let v4 = bound.iter().find(|address| address.is_ipv4())?.port();
    let v6 = bound.iter().find(|address| address.is_ipv6()).map(SocketAddr::port);
    Some((v4, v6))
}
