//! Descriptors 0 to 2 go to the command as they are, unless they lead past the jail.
//!
//! A socket belongs to the cgroup in which it was made, so an inherited network socket passes
//! every guard of the jail (P5).

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::net::{SocketAddr, UnixStream},
    },
    path::Path,
};

use rustix::{
    fs::{FileType, fstat},
    net::{AddressFamily, sockopt::socket_domain},
};

use super::SpawnError;

/// Where services of systemd have their output by default. What is written there is logged.
const JOURNAL: &str = "/run/systemd/journal/stdout";

/// Refuses standard descriptors that would give the command a way to the network.
pub(super) fn check() -> Result<(), SpawnError> {
    check_one(io::stdin().as_fd())?;
    check_one(io::stdout().as_fd())?;
    check_one(io::stderr().as_fd())
}

pub(super) fn check_one(descriptor: BorrowedFd<'_>) -> Result<(), SpawnError> {
    let fd = descriptor.as_raw_fd();
    let inspect = |error: rustix::io::Errno| SpawnError::Inspect { fd, source: error.into() };
    let failed = |source| SpawnError::Inspect { fd, source };
    let status = fstat(descriptor).map_err(inspect)?;
    let what = match FileType::from_raw_mode(status.st_mode) {
        FileType::Socket => match socket_domain(descriptor).map_err(inspect)? {
            AddressFamily::UNIX if is_harmless(descriptor).map_err(failed)? => return Ok(()),
            AddressFamily::UNIX => "a Unix socket of a service",
            AddressFamily::INET | AddressFamily::INET6 => "a network socket",
            _ => "a socket of a kind that the jail can't guard",
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
        | FileType::BlockDevice => return Ok(()),
    };
    Err(SpawnError::Descriptor { fd, what })
}

/// Whether a Unix socket is one of a pair, as the pipes of some parents and the terminals of remote
/// shells are, or leads to the journal. Others have a name on one side: that of a daemon, which may
/// hand out descriptors.
fn is_harmless(socket: BorrowedFd<'_>) -> io::Result<bool> {
    // Of whatever type: only the names are asked for.
    let socket = UnixStream::from(socket.try_clone_to_owned()?);
    if !socket.local_addr()?.is_unnamed() {
        return Ok(false);
    }
    match socket.peer_addr() {
        Ok(peer) => Ok(peer.is_unnamed() || leads_to_the_journal(&peer)),
        // The jail could make such a socket itself.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(true),
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
        net::{TcpListener, UdpSocket},
        os::{
            linux::net::SocketAddrExt,
            unix::net::{UnixDatagram, UnixListener, UnixStream},
        },
    };

    use super::*;

    fn refused(descriptor: impl AsFd) -> bool {
        match check_one(descriptor.as_fd()) {
            Ok(()) => false,
            Err(SpawnError::Descriptor { .. }) => true,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn refuses_network_sockets_and_kernel_objects() {
        assert!(refused(TcpListener::bind("127.0.0.1:0").unwrap()));
        assert!(refused(UdpSocket::bind("[::1]:0").unwrap()));
        let netlink =
            rustix::net::socket(AddressFamily::NETLINK, rustix::net::SocketType::RAW, None);
        assert!(refused(netlink.unwrap()));
        let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC);
        assert!(refused(epoll.unwrap()));
    }

    #[test]
    fn refuses_folders() {
        assert!(refused(File::open("/proc").unwrap()));
    }

    #[test]
    fn refuses_sockets_of_services() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service");
        let service = UnixListener::bind(&path).unwrap();
        assert!(refused(UnixStream::connect(&path).unwrap()));
        assert!(refused(service.accept().unwrap().0));
        assert!(refused(service));
        let name = format!("httpjail-stdio-{}", std::process::id());
        let name = SocketAddr::from_abstract_name(name).unwrap();
        let service = UnixDatagram::bind_addr(&name).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client.connect_addr(&name).unwrap();
        assert!(refused(client) && refused(service));
        assert!(leads_to_the_journal(&SocketAddr::from_pathname(JOURNAL).unwrap()));
    }

    #[test]
    fn passes_files_pipes_devices_and_unix_sockets() {
        assert!(!refused(tempfile::tempfile().unwrap()));
        assert!(!refused(File::open("/dev/null").unwrap()));
        let (reader, writer) = io::pipe().unwrap();
        assert!(!refused(reader) && !refused(writer));
        let (one, other) = UnixStream::pair().unwrap();
        assert!(!refused(one) && !refused(&other), "the other end may be closed");
        assert!(!refused(other) && !refused(UnixDatagram::unbound().unwrap()));
    }
}
