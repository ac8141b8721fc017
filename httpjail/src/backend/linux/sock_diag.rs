//! `sock_diag(7)`: asks the kernel for one TCP socket by its two ends.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink,
    sockopt::{Timeout, set_socket_timeout},
};

/// The kernel answers before `send` returns; this only keeps a surprise from lasting forever.
const PATIENCE: Duration = Duration::from_secs(1);
/// SOCK_DIAG_BY_FAMILY (linux/sock_diag.h).
const BY_FAMILY: u16 = 20;
/// NLM_F_REQUEST and NLMSG_ERROR (linux/netlink.h).
const REQUEST: u16 = 1;
const ERROR: u16 = 2;
/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct inet_diag_req_v2` behind it.
const QUESTION: usize = HEADER + 56;
/// `struct inet_diag_msg` behind it, without what may follow.
const ANSWER: usize = HEADER + 72;
/// TCP_LISTEN (net/tcp_states.h): for want of a connection, the listener at its place is found.
const LISTEN: u8 = 10;
/// INET_DIAG_NOCOOKIE: whichever socket it is.
const ANY_COOKIE: [u8; 8] = [0xff; 8];

/// A netlink socket to the kernel's tables of one network namespace.
#[derive(Debug)]
pub(super) struct SockDiag {
    socket: OwnedFd,
    number: u32,
}

/// Whose a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The user.
    pub(super) uid: u32,
    /// The socket's number; zero when nobody holds it any more.
    pub(super) inode: u32,
}

impl SockDiag {
    /// Opens it, and sees whether the kernel answers: not every kernel does.
    ///
    /// # Errors
    ///
    /// When there is no such family, or nobody who answers questions about TCP.
    pub(super) fn open() -> io::Result<Self> {
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let protocol = Some(netlink::SOCK_DIAG);
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, protocol)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        let mut diag = Self { socket, number: 0 };
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        diag.owner(nobody, nobody)?;
        Ok(diag)
    }

    /// Its descriptor.
    pub(super) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Whose the socket with these two ends is. `None`: there is none.
    ///
    /// # Errors
    ///
    /// When the kernel doesn't answer.
    pub(super) fn owner(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> io::Result<Option<Owner>> {
        self.number = self.number.wrapping_add(1);
        let (local, remote) = (canonical(local), canonical(remote));
        let question = question(self.number, local, remote);
        rustix::net::send(&self.socket, &question, SendFlags::empty())?;
        let mut buffer = [0; 1024];
        loop {
            let (length, _) =
                rustix::net::recv(self.socket.as_fd(), &mut buffer[..], RecvFlags::empty())?;
            let message = buffer.get(..length).unwrap_or_default();
            // An answer that came too late for its question may stand before this one's.
            if number(message, 8) == Some(self.number) {
                return answer(message, local, remote);
            }
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// `nlmsghdr` and `inet_diag_req_v2`. Numbers are this machine's, addresses and ports the network's.
fn question(number: u32, local: SocketAddr, remote: SocketAddr) -> [u8; QUESTION] {
    let mut message = Vec::with_capacity(QUESTION);
    message.extend((QUESTION as u32).to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend(number.to_ne_bytes());
    message.extend([0; 4]);
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // Family, protocol, no extensions, padding, all states.
    message.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    message.extend(u32::MAX.to_ne_bytes());
    message.extend(local.port().to_be_bytes());
    message.extend(remote.port().to_be_bytes());
    message.extend(octets(local.ip()));
    message.extend(octets(remote.ip()));
    message.extend([0; 4]);
    message.extend(ANY_COOKIE);
    message.try_into().expect("the parts make the whole")
}

/// An address as it lies in 16 bytes: IPv4 in the first four.
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Reads `nlmsghdr` and `inet_diag_msg`, or `nlmsgerr`.
fn answer(message: &[u8], local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Owner>> {
    let cut = || io::Error::other("the kernel's answer about a socket is cut off");
    let kind = message.get(4..6).and_then(|two| two.try_into().ok()).map(u16::from_ne_bytes);
    if kind == Some(ERROR) {
        let errno = number(message, HEADER).ok_or_else(cut)?.cast_signed().wrapping_neg();
        return match errno {
            libc::ENOENT => Ok(None),
            errno => Err(io::Error::from_raw_os_error(errno)),
        };
    }
    if kind != Some(BY_FAMILY) {
        return Err(io::Error::other("the kernel answers something else about a socket"));
    }
    let body = message.get(HEADER..ANSWER).ok_or_else(cut)?;
    let ends = ends(body).ok_or_else(cut)?;
    let state = body.get(1).ok_or_else(cut)?;
    let uid = number(body, 64).ok_or_else(cut)?;
    let inode = number(body, 68).ok_or_else(cut)?;
    let is_it = ends == (local, remote) && *state != LISTEN;
    Ok(is_it.then_some(Owner { uid, inode }))
}

/// The two ends in an `inet_diag_msg`.
fn ends(body: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let family = i32::from(*body.first()?);
    let end = |port: usize, address: usize| {
        let port = u16::from_be_bytes(body.get(port..port + 2)?.try_into().ok()?);
        let octets: [u8; 16] = body.get(address..address + 16)?.try_into().ok()?;
        let ip = match (family, octets) {
            (libc::AF_INET, [a, b, c, d, ..]) => Ipv4Addr::new(a, b, c, d).into(),
            (libc::AF_INET6, _) => IpAddr::from(Ipv6Addr::from(octets)).to_canonical(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    };
    Some((end(4, 8)?, end(6, 24)?))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn finds_a_connection_and_no_listener() {
        let mut diag = SockDiag::open().unwrap();
        let own = rustix::process::geteuid().as_raw();
        for place in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(place).unwrap();
            let server = listener.local_addr().unwrap();
            let stream = TcpStream::connect(server).unwrap();
            let client = stream.local_addr().unwrap();
            let accepted = listener.accept().unwrap();
            let owner = diag.owner(client, server).unwrap().unwrap();
            assert_eq!(owner.uid, own, "{place}");
            assert_ne!(owner.inode, 0, "{place}");
            assert!(diag.owner(server, client).unwrap().is_some(), "its other end");
            // The listener is where a connection from there would be found.
            assert_eq!(diag.owner(server, server).unwrap(), None, "{place}");
            drop(stream);
            let left = diag.owner(client, server).unwrap();
            assert_eq!(left.map_or(0, |owner| owner.inode), 0, "nobody holds it: {left:?}");
            drop(accepted);
        }
    }

    #[test]
    fn a_connection_of_ipv4_from_a_socket_of_ipv6_is_found() {
        use socket2::{Domain, Socket, Type};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), server.port()));
        socket.connect(&mapped.into()).unwrap();
        let client = socket.local_addr().unwrap().as_socket().unwrap();
        let owner = SockDiag::open().unwrap().owner(client, server).unwrap();
        assert_ne!(owner.map(|owner| owner.inode), None);
    }

    #[test]
    fn answers_that_are_cut_or_of_another_kind_are_errors() {
        let (local, remote) =
            (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2)));
        let mut whole = [0_u8; ANSWER];
        whole[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        whole[HEADER] = libc::AF_INET as u8;
        assert_eq!(answer(&whole, local, remote).unwrap(), None, "another socket");
        for length in 0..ANSWER {
            assert!(answer(&whole[..length], local, remote).is_err(), "{length}");
        }
        whole[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        whole[HEADER..HEADER + 4].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(answer(&whole, local, remote).unwrap(), None);
        whole[HEADER..HEADER + 4].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        let error = answer(&whole, local, remote).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }
}
