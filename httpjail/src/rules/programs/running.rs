//! A program that runs, with all that it started in its process group.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    net::unix::pipe::{Receiver, Sender},
    time::timeout,
};

/// How long a killed program may take to go.
const DEATH: Duration = Duration::from_secs(2);

/// A running program; dropped, it is killed with its process group.
pub(super) struct Running {
    child: Child,
    group: Pid,
    end: Receiver,
    is_reaped: bool,
}

/// Its standard streams.
pub(super) struct Streams {
    /// Where it reads, if it may.
    pub(super) stdin: Option<Sender>,
    /// What it says.
    pub(super) stdout: Receiver,
    /// What it says besides.
    pub(super) stderr: Receiver,
}

impl Running {
    /// Starts `command` in a process group of its own. All other descriptors of this process are
    /// closed when programs are executed.
    ///
    /// # Errors
    ///
    /// When it can't be started.
    pub(super) fn start(mut command: Command, stdin: Stdio) -> io::Result<(Self, Streams)> {
        command.process_group(0).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let group = Pid::from_child(&child);
        let watched = watch(&mut child, group);
        let (end, streams) = match watched {
            Ok(watched) => watched,
            Err(error) => {
                // What can't be watched must not run on.
                let _ = kill_process_group(group, Signal::KILL);
                child.wait()?;
                return Err(error);
            }
        };
        Ok((Self { child, group, end, is_reaped: false }, streams))
    }

    /// Waits until the program has ended; what it started may live on.
    pub(super) async fn ended(&self) -> io::Result<()> {
        self.end.readable().await
    }

    /// Gives it a moment to end by itself, then kills it and its group.
    ///
    /// # Errors
    ///
    /// As [`Running::finish`].
    pub(super) async fn end(&mut self, moment: Duration) -> io::Result<ExitStatus> {
        // Whether it ended or the moment did, what is left is killed.
        let _ = timeout(moment, self.ended()).await;
        self.finish().await
    }

    /// Kills what is left of it and its group, and tells how it ended.
    ///
    /// # Errors
    ///
    /// When it doesn't go: it is in a call that nothing interrupts.
    pub(super) async fn finish(&mut self) -> io::Result<ExitStatus> {
        self.kill();
        if timeout(DEATH, self.ended()).await.is_err() {
            return Err(io::Error::other("it was killed, and doesn't end"));
        }
        // Once more: what was being forked when the first signal came.
        self.kill();
        self.is_reaped = true;
        self.child.wait()
    }

    /// As long as the program isn't reaped, the group's number is nobody else's.
    fn kill(&self) {
        if !self.is_reaped {
            // A group that has ended wholly needs nothing.
            let _ = kill_process_group(self.group, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        // One that takes its time is reaped when this process ends.
        let _ = self.child.try_wait();
    }
}

fn watch(child: &mut Child, pid: Pid) -> io::Result<(Receiver, Streams)> {
    let missing = || io::Error::other("a stream is missing");
    let stdin = child.stdin.take().map(|stdin| Sender::from_owned_fd(stdin.into()));
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let stderr = child.stderr.take().ok_or_else(missing)?;
    let streams = Streams {
        stdin: stdin.transpose()?,
        stdout: Receiver::from_owned_fd(stdout.into())?,
        stderr: Receiver::from_owned_fd(stderr.into())?,
    };
    Ok((end_of(pid)?, streams))
}

/// What becomes readable when a child has ended, before anybody has waited for it.
#[cfg(target_os = "linux")]
fn end_of(pid: Pid) -> io::Result<Receiver> {
    use rustix::process::{PidfdFlags, pidfd_open};
    // Not a pipe; but like one, a process's descriptor becomes readable.
    Receiver::from_owned_fd_unchecked(pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

/// What becomes readable when a child has ended: a pipe that a thread closes then.
#[cfg(target_os = "macos")]
fn end_of(pid: Pid) -> io::Result<Receiver> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let (end, ending) = io::pipe()?;
    let wait = move || {
        // A child that was waited for has ended, too.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        drop(ending);
    };
    std::thread::Builder::new().name("end of program".to_owned()).spawn(wait)?;
    Receiver::from_owned_fd(end.into())
}
