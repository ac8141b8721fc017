//! Both guards hold for a thread and what it starts, so that each test confines a thread of its own.

use std::{
    fs, io,
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::Command,
    thread,
};

use super::confine;

/// What `act` gives without and with confinement.
fn twice<T: Send + 'static>(act: fn() -> io::Result<T>) -> (io::Result<T>, io::Result<T>) {
    let free = thread::spawn(act).join().unwrap();
    let confined = thread::spawn(move || {
        confine(&[]).unwrap();
        act()
    });
    (free, confined.join().unwrap())
}

#[track_caller]
fn assert_refused<T: Send + std::fmt::Debug + 'static>(act: fn() -> io::Result<T>, errno: i32) {
    let (free, confined) = twice(act);
    free.unwrap();
    assert_eq!(confined.unwrap_err().raw_os_error(), Some(errno));
}

#[track_caller]
fn assert_allowed<T: Send + std::fmt::Debug + 'static>(act: fn() -> io::Result<T>) {
    let (free, confined) = twice(act);
    free.unwrap();
    confined.unwrap();
}

fn socket(family: i32, kind: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers.
    match unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: it was just made, and nobody else knows it.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

#[test]
fn writes_nowhere() {
    assert_refused(|| tempfile::tempfile_in("/tmp"), libc::EACCES);
    assert_refused(|| fs::write("/dev/shm/httpjail-confine-test", "x"), libc::EACCES);
    fs::remove_file("/dev/shm/httpjail-confine-test").unwrap();
}

#[test]
fn reads_what_resolving_takes_and_no_more() {
    assert_allowed(|| fs::read("/etc/nsswitch.conf").or_else(|_| fs::read("/etc/passwd")));
    assert_refused(|| fs::read("/proc/self/environ"), libc::EACCES);
    assert_refused(|| fs::read_dir("/").map(drop), libc::EACCES);
}

#[test]
fn reads_what_it_is_told_to() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let confined = move |also: Vec<PathBuf>, path: PathBuf| {
        thread::spawn(move || {
            confine(&also).unwrap();
            fs::read(path)
        })
    };
    confined(Vec::new(), path.clone()).join().unwrap().unwrap_err();
    confined(vec![path.clone()], path).join().unwrap().unwrap();
}

#[test]
fn starts_no_program() {
    assert_refused(|| Command::new("/bin/true").status().map(drop), libc::EPERM);
}

#[test]
fn starts_threads() {
    assert_allowed(|| thread::Builder::new().spawn(|| ()).map(|thread| thread.join().unwrap()));
}

#[test]
fn talks_to_the_network_and_listens_at_no_port_of_its_own() {
    assert_refused(|| TcpListener::bind("127.0.0.1:0"), libc::EACCES);
    assert_allowed(|| UdpSocket::bind("127.0.0.1:0"));
    assert_allowed(UnixStream::pair);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = move || {
        confine(&[]).unwrap();
        TcpStream::connect(address).unwrap();
    };
    thread::spawn(connect).join().unwrap();
}

#[test]
fn makes_no_strange_sockets() {
    assert_refused(|| socket(libc::AF_PACKET, libc::SOCK_RAW), libc::EPERM);
    assert_refused(|| socket(libc::AF_VSOCK, libc::SOCK_STREAM), libc::EPERM);
    assert_allowed(|| socket(libc::AF_NETLINK, libc::SOCK_RAW));
}

#[test]
fn makes_no_namespaces() {
    let unshare = || {
        // SAFETY: a file system namespace for the calling thread alone, which ends after this.
        match unsafe { libc::unshare(libc::CLONE_NEWUTS) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    assert_refused(unshare, libc::EPERM);
}
