//! What the supervisor and the proxy role say to each other: fixed, small messages over a
//! sequenced-packet socket pair. End of file means that the other side is dead.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::Mutex,
    time::Duration,
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::policy::ProcessInspector;

/// Largest message: a PEM certificate and a path fit in it.
const MESSAGE_MAX: usize = 16 * 1024;
/// Longest path that `readlink` on `/proc/PID/exe` can give.
const PATH_MAX: usize = 4096;
/// How long the proxy waits for the supervisor to look a program up. The supervisor only reads
/// two files of `/proc`; a stopped one must not stop decisions.
const INSPECT_TIMEOUT: Duration = Duration::from_millis(50);

/// One end of a connection between the supervisor and a role.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Two connected ends.
    ///
    /// # Errors
    ///
    /// What `socketpair(2)` says.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC;
        let (a, b) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(a), Self(b)))
    }

    /// Sends one message.
    ///
    /// # Errors
    ///
    /// What `send(2)` says; `EPIPE` when the other side is dead.
    pub(super) fn send(&self, message: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.0, message, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Sends one message, or none if there is no room for it.
    ///
    /// # Errors
    ///
    /// What `send(2)` says; `WouldBlock` when the other side doesn't read.
    fn send_at_once(&self, message: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.0, message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        Ok(())
    }

    /// Receives one message; an empty one means that the other side is dead.
    ///
    /// # Errors
    ///
    /// What `recv(2)` says.
    pub(super) fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; MESSAGE_MAX];
        let (length, _) = rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Bounds how long [`Channel::receive`] and [`Channel::send`] wait.
    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        use rustix::net::sockopt::{Timeout, set_socket_timeout};
        set_socket_timeout(&self.0, Timeout::Recv, Some(timeout))?;
        set_socket_timeout(&self.0, Timeout::Send, Some(timeout))?;
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The proxy's first and only report: it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    /// The certificate of this run's CA.
    pub(super) ca_pem: String,
}

impl Ready {
    /// The message as bytes.
    pub(super) fn encode(&self) -> &[u8] {
        self.ca_pem.as_bytes()
    }

    /// Reads the message back. `None` when no certificate is in it: the proxy is dead.
    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        let ca_pem = str::from_utf8(message).ok().filter(|pem| !pem.is_empty())?.to_owned();
        Some(Self { ca_pem })
    }
}

/// The proxy's way to ask the supervisor which program a process runs: the kernel shows
/// `/proc/PID/exe` of another user only to a privileged process.
#[derive(Debug)]
pub(super) struct RemoteInspector(Mutex<Channel>);

impl RemoteInspector {
    /// Asks over `channel`.
    ///
    /// # Errors
    ///
    /// When the timeouts can't be set.
    pub(super) fn new(channel: Channel) -> io::Result<Self> {
        channel.set_timeout(INSPECT_TIMEOUT)?;
        Ok(Self(Mutex::new(channel)))
    }
}

impl ProcessInspector for RemoteInspector {
    fn executable(&self, pid: u32) -> Option<String> {
        let channel = self.0.lock().ok()?;
        channel.send(&pid.to_be_bytes()).ok()?;
        loop {
            // A late answer to an earlier question must not be taken for this one.
            let answer = channel.receive().ok()?;
            let (asked, path) = answer.split_at_checked(4)?;
            if asked == pid.to_be_bytes() {
                return (!path.is_empty()).then(|| String::from_utf8_lossy(path).into_owned());
            }
        }
    }
}

/// Answers one question of a [`RemoteInspector`]. `false`: the other side is gone.
///
/// The question holds four bytes and nothing else that the jailed program could have shaped.
/// Only processes of the jail at `cgroup` are looked at, so a reused pid tells nothing.
pub(super) fn answer_inspection(channel: &Channel, in_jail: impl Fn(u32) -> bool) -> bool {
    let Ok(question) = channel.receive() else { return false };
    let Ok(asked) = <[u8; 4]>::try_from(question.as_slice()) else { return false };
    let pid = u32::from_be_bytes(asked);
    let mut answer = asked.to_vec();
    if let Ok(path) = std::fs::read_link(PathBuf::from(format!("/proc/{pid}/exe")))
        && in_jail(pid)
    {
        use std::os::unix::ffi::OsStrExt;
        let bytes = path.as_os_str().as_bytes();
        answer.extend_from_slice(bytes.get(..PATH_MAX).unwrap_or(bytes));
    }
    // A proxy that asks and doesn't read must not hold the supervisor up.
    channel.send_at_once(&answer).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_survives_the_channel() {
        let ready = Ready { ca_pem: "-----BEGIN CERTIFICATE-----".to_owned() };
        let (ours, theirs) = Channel::pair().unwrap();
        theirs.send(ready.encode()).unwrap();
        assert_eq!(Ready::decode(&ours.receive().unwrap()), Some(ready));
    }

    #[test]
    fn an_empty_report_is_no_report() {
        assert_eq!(Ready::decode(b""), None);
    }

    #[test]
    fn a_dead_side_reads_as_an_empty_message() {
        let (ours, theirs) = Channel::pair().unwrap();
        drop(theirs);
        assert!(ours.receive().unwrap().is_empty());
    }

    #[test]
    fn the_inspector_tells_the_program_of_a_process_in_the_jail_only() {
        let (ours, theirs) = Channel::pair().unwrap();
        let inspector = RemoteInspector::new(theirs).unwrap();
        let own = std::process::id();
        let served = std::thread::spawn(move || {
            assert!(answer_inspection(&ours, |pid| pid == own));
            assert!(answer_inspection(&ours, |_| false));
        });
        let exe = std::env::current_exe().unwrap();
        assert_eq!(inspector.executable(own).as_deref(), exe.to_str());
        assert_eq!(inspector.executable(own), None);
        served.join().unwrap();
    }

    #[test]
    fn a_silent_supervisor_yields_no_program_in_time() {
        let (_ours, theirs) = Channel::pair().unwrap();
        assert_eq!(RemoteInspector::new(theirs).unwrap().executable(1), None);
    }
}
