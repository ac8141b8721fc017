//! Descriptors 0 to 2 go to the command as they are, unless they are sockets or lead past the jail.
//!
//! A socket belongs to the cgroup in which it was made, so an inherited network socket passes
//! every guard of the jail, and by a Unix socket others can pass one on (P5). So the command gets
//! no socket from outside: bytes are carried between it and a stream of its own. What isn't a stream
//! is refused.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::net::{SocketAddr, UnixStream},
    },
    path::Path,
};

use rustix::{
    fs::{FileType, fstat},
    io::fcntl_dupfd_cloexec,
    net::{
        AddressFamily, SocketType,
        sockopt::{socket_acceptconn, socket_domain, socket_type},
    },
};

use super::SpawnError;

/// Where services of systemd have their output by default. What is written there is logged.
const JOURNAL: &str = "/run/systemd/journal/stdout";

/// A socket among the standard streams: the command must get another one in its place.
#[derive(Debug)]
pub struct Outer {
    /// The descriptors that lead to it, of 0 to 2.
    pub numbers: Vec<RawFd>,
    /// The same socket, at a descriptor above 2.
    pub socket: OwnedFd,
    inode: (u64, u64),
}

/// What the command gets in the place of such a socket.
#[derive(Debug)]
pub struct Replacement {
    /// The command's descriptors, of 0 to 2.
    pub numbers: Vec<RawFd>,
    /// Where they lead.
    pub by: OwnedFd,
}

/// The sockets among the standard streams, each once.
///
/// # Errors
///
/// When a standard descriptor would give the command a way past the jail, and can't be replaced.
pub fn sockets() -> Result<Vec<Outer>, SpawnError> {
    let mut found: Vec<Outer> = Vec::new();
    for descriptor in [io::stdin().as_fd(), io::stdout().as_fd(), io::stderr().as_fd()] {
        let Some(inode) = look_at(descriptor)? else { continue };
        let fd = descriptor.as_raw_fd();
        if let Some(known) = found.iter_mut().find(|outer| outer.inode == inode) {
            known.numbers.push(fd);
            continue;
        }
        let socket = fcntl_dupfd_cloexec(descriptor, 3);
        let socket = socket.map_err(|source| SpawnError::Inspect { fd, source: source.into() })?;
        found.push(Outer { numbers: vec![fd], socket, inode });
    }
    Ok(found)
}

/// Sees to it that no socket gets to the command.
pub(super) fn check(replaced: &[Replacement]) -> Result<(), SpawnError> {
    let is_replaced = |fd| replaced.iter().any(|it| it.numbers.contains(&fd));
    for outer in sockets()? {
        if let Some(&fd) = outer.numbers.iter().find(|fd| !is_replaced(**fd)) {
            return Err(SpawnError::Descriptor { fd, what: "a socket" });
        }
    }
    Ok(())
}

/// Which socket it is, if it is one.
fn look_at(descriptor: BorrowedFd<'_>) -> Result<Option<(u64, u64)>, SpawnError> {
    let fd = descriptor.as_raw_fd();
    let failed = |source| SpawnError::Inspect { fd, source };
    let status = fstat(descriptor).map_err(|error| failed(error.into()))?;
    let what = match FileType::from_raw_mode(status.st_mode) {
        FileType::Socket => match obstacle(descriptor).map_err(failed)? {
            None => return Ok(Some((status.st_dev, status.st_ino))),
            Some(what) => what,
        },
        // What has no type is an anonymous kernel object: an io_uring (which may hold sockets),
        // an eBPF program or map, an epoll instance.
        FileType::Unknown => "a kernel object that the jail can't guard",
        // By `/proc/self/fd/0/` it leads below whatever is mounted over it or above it.
        FileType::Directory => "a folder",
        FileType::RegularFile
        | FileType::Symlink
        | FileType::Fifo
        | FileType::CharacterDevice
        | FileType::BlockDevice => return Ok(None),
    };
    Err(SpawnError::Descriptor { fd, what })
}

/// Why bytes can't, or must not, be carried between the command and a socket.
fn obstacle(socket: BorrowedFd<'_>) -> io::Result<Option<&'static str>> {
    if socket_type(socket)? != SocketType::STREAM {
        return Ok(Some("a socket for messages (datagrams), whose bounds a stream can't keep"));
    }
    if socket_acceptconn(socket)? {
        return Ok(Some("a socket that listens, and no connection"));
    }
    let is_unix = socket_domain(socket)? == AddressFamily::UNIX;
    Ok((is_unix && leads_to_service(socket)?).then_some("a Unix socket of a service"))
}

/// Whether somebody connected it to a daemon, which may do the command's bidding. The other end of a
/// pair has no name, nor have the clients of a socket that was accepted.
fn leads_to_service(socket: BorrowedFd<'_>) -> io::Result<bool> {
    match UnixStream::from(socket.try_clone_to_owned()?).peer_addr() {
        Ok(peer) => Ok(!peer.is_unnamed() && !leads_to_the_journal(&peer)),
        // The other end is gone.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

fn leads_to_the_journal(peer: &SocketAddr) -> bool {
    peer.as_pathname() == Some(Path::new(JOURNAL))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        net::{TcpListener, TcpStream, UdpSocket},
        os::{
            linux::net::SocketAddrExt,
            unix::net::{UnixDatagram, UnixListener},
        },
    };

    use super::*;

    #[derive(Debug, PartialEq)]
    enum Fate {
        Passed,
        Carried,
        Refused,
    }

    fn fate(descriptor: impl AsFd) -> Fate {
        match look_at(descriptor.as_fd()) {
            Ok(None) => Fate::Passed,
            Ok(Some(_)) => Fate::Carried,
            Err(SpawnError::Descriptor { .. }) => Fate::Refused,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn refuses_sockets_of_messages_listeners_and_kernel_objects() {
        assert_eq!(fate(TcpListener::bind("127.0.0.1:0").unwrap()), Fate::Refused);
        assert_eq!(fate(UdpSocket::bind("[::1]:0").unwrap()), Fate::Refused);
        let (one, other) = UnixDatagram::pair().unwrap();
        assert_eq!((fate(one), fate(other)), (Fate::Refused, Fate::Refused));
        let netlink = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None);
        assert_eq!(fate(netlink.unwrap()), Fate::Refused);
        let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC);
        assert_eq!(fate(epoll.unwrap()), Fate::Refused);
    }

    #[test]
    fn refuses_folders() {
        assert_eq!(fate(File::open("/proc").unwrap()), Fate::Refused);
    }

    #[test]
    fn refuses_connections_to_services_and_carries_those_from_clients() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service");
        let service = UnixListener::bind(&path).unwrap();
        assert_eq!(fate(UnixStream::connect(&path).unwrap()), Fate::Refused);
        assert_eq!(fate(service.accept().unwrap().0), Fate::Carried);
        assert_eq!(fate(service), Fate::Refused);
        let name = format!("httpjail-stdio-{}", std::process::id());
        let name = SocketAddr::from_abstract_name(name).unwrap();
        let service = UnixListener::bind_addr(&name).unwrap();
        assert_eq!(fate(UnixStream::connect_addr(&name).unwrap()), Fate::Refused);
        drop(service);
        assert!(leads_to_the_journal(&SocketAddr::from_pathname(JOURNAL).unwrap()));
    }

    #[test]
    fn passes_files_pipes_and_devices_and_carries_streams() {
        assert_eq!(fate(tempfile::tempfile().unwrap()), Fate::Passed);
        assert_eq!(fate(File::open("/dev/null").unwrap()), Fate::Passed);
        let (reader, writer) = io::pipe().unwrap();
        assert_eq!((fate(reader), fate(writer)), (Fate::Passed, Fate::Passed));
        let (one, other) = UnixStream::pair().unwrap();
        assert_eq!((fate(one), fate(&other)), (Fate::Carried, Fate::Carried));
        assert_eq!(fate(other), Fate::Carried, "the other end may be closed");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(
            (fate(client), fate(listener.accept().unwrap().0)),
            (Fate::Carried, Fate::Carried)
        );
    }
}
