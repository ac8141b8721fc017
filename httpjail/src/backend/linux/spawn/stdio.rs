//! Descriptors 0 to 2 go to the command as they are, unless they lead past the jail.
//!
//! A socket belongs to the cgroup in which it was made, so an inherited network socket passes
//! every guard of the jail (P5).

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use rustix::{
    fs::{FileType, fstat},
    net::{AddressFamily, sockopt::socket_domain},
};

use super::SpawnError;

/// Refuses standard descriptors that would give the command a way to the network.
pub(super) fn check() -> Result<(), SpawnError> {
    check_one(io::stdin().as_fd())?;
    check_one(io::stdout().as_fd())?;
    check_one(io::stderr().as_fd())
}

pub(super) fn check_one(descriptor: BorrowedFd<'_>) -> Result<(), SpawnError> {
    let fd = descriptor.as_raw_fd();
    let inspect = |error: rustix::io::Errno| SpawnError::Inspect { fd, source: error.into() };
    let status = fstat(descriptor).map_err(inspect)?;
    let what = match FileType::from_raw_mode(status.st_mode) {
        FileType::Socket => match socket_domain(descriptor).map_err(inspect)? {
            // Terminals of remote shells and pipes of some parents are such pairs.
            AddressFamily::UNIX => return Ok(()),
            AddressFamily::INET | AddressFamily::INET6 => "a network socket",
            _ => "a socket of a kind that the jail can't guard",
        },
        // What has no type is an anonymous kernel object: an io_uring (which may hold sockets),
        // an eBPF program or map, an epoll instance.
        FileType::Unknown => "a kernel object that the jail can't guard",
        FileType::RegularFile
        | FileType::Directory
        | FileType::Symlink
        | FileType::Fifo
        | FileType::CharacterDevice
        | FileType::BlockDevice => return Ok(()),
    };
    Err(SpawnError::Descriptor { fd, what })
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        net::{TcpListener, UdpSocket},
        os::unix::net::UnixStream,
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
    fn passes_files_pipes_devices_and_unix_sockets() {
        assert!(!refused(tempfile::tempfile().unwrap()));
        assert!(!refused(File::open("/dev/null").unwrap()));
        let (reader, writer) = io::pipe().unwrap();
        assert!(!refused(reader) && !refused(writer));
        let (one, other) = UnixStream::pair().unwrap();
        assert!(!refused(one) && !refused(other));
    }
}
