//! The role that runs a rule's program: with the rights of the user who called and none of
//! httpjail's, outside of the jail. It is asked by the proxy, and no descriptor of the jail is in it.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, AsRawFd, RawFd},
    os::unix::net::UnixStream,
    thread,
};

use tokio::sync::oneshot;

use super::{
    SessionError,
    control::{Channel, STOP},
};
use crate::rules::{Program, serve_program};

/// All that the role needs, made by the supervisor before the fork.
pub(super) struct RulesRole {
    /// What to run.
    pub(super) program: Program,
    /// The report goes out; [`STOP`] or end of file comes in.
    pub(super) control: Channel,
    /// The proxy's questions.
    pub(super) questions: UnixStream,
    /// The role's own `cgroup.kill`, to end all that was started when the supervisor is dead.
    pub(super) kill_switch: Option<File>,
}

impl RulesRole {
    /// The descriptors that the role keeps across the fork.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let mut fds = vec![self.control.as_fd().as_raw_fd(), self.questions.as_raw_fd()];
        fds.extend(self.kill_switch.as_ref().map(AsRawFd::as_raw_fd));
        fds
    }

    /// The role's life; the result is its exit status.
    pub(super) fn main(self) -> u8 {
        let Self { program, control, questions, kill_switch } = self;
        let (stopped, stop) = oneshot::channel();
        let tell = |started: Result<(), &io::Error>| {
            // A supervisor that doesn't hear it is dead, which `watch` tells.
            let _ = control.send(&report(started));
            watch(control, kill_switch, stopped)
        };
        match serve_program(&program, questions, tell, stop) {
            Ok(()) => 0,
            Err(error) => {
                tracing::debug!(%error, "the rule's program isn't asked any more");
                1
            }
        }
    }
}

/// Waits for the supervisor's word on a thread of its own. If the supervisor dies instead, all that
/// the rule's program started ends, and this process with it.
fn watch(
    control: Channel,
    kill_switch: Option<File>,
    stopped: oneshot::Sender<()>,
) -> io::Result<()> {
    let wait = move || {
        let word = control.receive();
        if !word.is_ok_and(|word| word == STOP)
            && let Some(mut kill_switch) = kill_switch
        {
            // It is the last that this process does.
            let _ = kill_switch.write_all(b"1");
        }
        drop(stopped);
    };
    thread::Builder::new().name("supervisor".to_owned()).spawn(wait).map(drop)
}

/// Whether the program can be run, as a message: the system's number of what is wrong.
fn report(started: Result<(), &io::Error>) -> [u8; 4] {
    let error = started.err();
    error.map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO)).to_be_bytes()
}

/// Reads a report back. `None`: it is none, for the role is dead.
fn read_report(message: &[u8]) -> Option<io::Result<()>> {
    match i32::from_be_bytes(message.try_into().ok()?) {
        0 => Some(Ok(())),
        error => Some(Err(io::Error::from_raw_os_error(error))),
    }
}

/// Takes the role's word that `program` can be asked, which has come or is about to.
///
/// # Errors
///
/// When the role has ended, or can't start the program.
pub(super) fn take_report(control: &Channel, program: &Program) -> Result<(), SessionError> {
    let report = control.receive().map_err(SessionError::Rules)?;
    let report = read_report(&report).ok_or_else(|| {
        SessionError::Rules(io::Error::other("its process ended; its own message is above"))
    })?;
    report.map_err(|source| SessionError::Program {
        option: program.kind().option(),
        name: program.name().to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives() {
        assert!(matches!(read_report(&report(Ok(()))), Some(Ok(()))));
        let missing = io::Error::from_raw_os_error(libc::ENOENT);
        let read = read_report(&report(Err(&missing))).unwrap().unwrap_err();
        assert_eq!(read.raw_os_error(), Some(libc::ENOENT));
        let strange = report(Err(&io::Error::other("x")));
        assert!(matches!(read_report(&strange), Some(Err(_))));
        assert!(read_report(b"").is_none());
    }
}
