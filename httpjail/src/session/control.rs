//! What the supervisor and the proxy role say to each other: fixed, small messages over a
//! sequenced-packet socket pair. End of file means that the other side is dead.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
    sync::Mutex,
    time::Duration,
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::policy::ProcessInspector;

/// Largest message: a PEM certificate and a path fit in it.
const MESSAGE_MAX: usize = 16 * 1024;
/// The supervisor's word that the proxy should end, and the proxy's that it heard it.
pub(super) const STOP: &[u8] = b"stop";
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
///
/// A question is a serial number and a pid, four bytes each, big-endian. Its answer is the same
/// number, a byte of [`Found`], and the path if there is one.
#[derive(Debug)]
pub(super) struct RemoteInspector(Mutex<Line>);

#[derive(Debug)]
struct Line {
    channel: Channel,
    /// The last question's number: a late answer to an earlier question, which may have been
    /// about the same process, must not be taken for this one.
    serial: u32,
}

/// What came of a look at a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Found {
    /// It has ended, or isn't in the jail.
    Nothing,
    /// It runs this program.
    Program,
    /// It could not be found out.
    Failure,
}

impl Found {
    fn read(byte: u8) -> Option<Self> {
        [Self::Nothing, Self::Program, Self::Failure].into_iter().find(|it| *it as u8 == byte)
    }
}

impl RemoteInspector {
    /// Asks over `channel`.
    ///
    /// # Errors
    ///
    /// When the timeouts can't be set.
    pub(super) fn new(channel: Channel) -> io::Result<Self> {
        channel.set_timeout(INSPECT_TIMEOUT)?;
        Ok(Self(Mutex::new(Line { channel, serial: 0 })))
    }
}

impl ProcessInspector for RemoteInspector {
    fn executable(&self, pid: u32) -> io::Result<Option<String>> {
        let gone = || io::Error::other("the supervisor doesn't answer");
        let mut line = self.0.lock().map_err(|_| gone())?;
        line.serial = line.serial.wrapping_add(1);
        let serial = line.serial.to_be_bytes();
        line.channel.send(&[serial, pid.to_be_bytes()].concat())?;
        loop {
            let answer = line.channel.receive()?;
            let (asked, answer) = answer.split_at_checked(4).ok_or_else(gone)?;
            let (found, path) = answer.split_first().ok_or_else(gone)?;
            if asked != serial {
                continue;
            }
            return match Found::read(*found) {
                Some(Found::Program) => Ok(Some(String::from_utf8_lossy(path).into_owned())),
                Some(Found::Nothing) => Ok(None),
                Some(Found::Failure) | None => {
                    Err(io::Error::other("the supervisor can't read the program's path"))
                }
            };
        }
    }
}

/// Answers one question of a [`RemoteInspector`]. `false`: the other side is gone.
///
/// The question holds two numbers and nothing else that the jailed program could have shaped.
/// Only processes of the jail are looked at, so a reused pid tells nothing.
pub(super) fn answer_inspection(channel: &Channel, in_jail: impl Fn(u32) -> bool) -> bool {
    let Ok(question) = channel.receive() else { return false };
    let Ok(question) = <[u8; 8]>::try_from(question.as_slice()) else { return false };
    let [s0, s1, s2, s3, pid @ ..] = question;
    let pid = u32::from_be_bytes(pid);
    let (found, path) = look_up(pid, in_jail);
    let mut answer = vec![s0, s1, s2, s3, found as u8];
    answer.extend_from_slice(path.as_os_str().as_bytes());
    // A proxy that asks and doesn't read must not hold the supervisor up.
    channel.send_at_once(&answer).is_ok()
}

/// Finds the program of a process of the jail. The path is empty where there is none.
fn look_up(pid: u32, in_jail: impl Fn(u32) -> bool) -> (Found, PathBuf) {
    let path = std::fs::read_link(format!("/proc/{pid}/exe"));
    // Asked after the path was read: a pid that another process took over in between isn't one
    // of the jail.
    if !in_jail(pid) {
        return (Found::Nothing, PathBuf::new());
    }
    match path {
        Ok(path) => (Found::Program, path),
        Err(error) if has_ended(&error) => (Found::Nothing, PathBuf::new()),
        Err(error) => {
            tracing::debug!(pid, %error, "the path of a program can't be read");
            (Found::Failure, PathBuf::new())
        }
    }
}

/// A process that is gone has no entry in `/proc`, a dead one that nobody has waited for has no
/// program (`proc_exe_link` in fs/proc/base.c: `ENOENT`).
fn has_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
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
        assert_eq!(inspector.executable(own).unwrap().as_deref(), exe.to_str());
        assert_eq!(inspector.executable(own).unwrap(), None);
        served.join().unwrap();
    }

    #[test]
    fn a_process_that_has_ended_has_no_program() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        // It is dead, but its entry stays until someone waits for it.
        let id = rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child));
        let options =
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(id, options).unwrap();
        assert_eq!(look_up(child.id(), |_| true), (Found::Nothing, PathBuf::new()));
        child.wait().unwrap();
        assert_eq!(look_up(child.id(), |_| true), (Found::Nothing, PathBuf::new()));
    }

    #[test]
    fn a_silent_supervisor_is_an_error_in_time() {
        let (_ours, theirs) = Channel::pair().unwrap();
        RemoteInspector::new(theirs).unwrap().executable(1).unwrap_err();
    }

    #[test]
    fn a_dead_supervisor_is_an_error() {
        let (ours, theirs) = Channel::pair().unwrap();
        let inspector = RemoteInspector::new(theirs).unwrap();
        drop(ours);
        inspector.executable(1).unwrap_err();
    }

    #[test]
    fn an_answer_that_says_nothing_known_is_an_error() {
        for answer in [&[0, 0, 0, 1][..], &[0, 0, 0, 1, 2], &[0, 0, 0, 1, 9, b'/'], &[1]] {
            let (ours, theirs) = Channel::pair().unwrap();
            let inspector = RemoteInspector::new(theirs).unwrap();
            ours.send(answer).unwrap();
            inspector.executable(1).unwrap_err();
        }
    }

    #[test]
    fn a_late_answer_is_not_taken_for_the_next_one() {
        let (ours, theirs) = Channel::pair().unwrap();
        let inspector = RemoteInspector::new(theirs).unwrap();
        inspector.executable(7).unwrap_err();
        ours.send(b"\0\0\0\x01\x01/late").unwrap();
        ours.send(b"\0\0\0\x02\x01/now").unwrap();
        assert_eq!(inspector.executable(7).unwrap().as_deref(), Some("/now"));
    }
}
