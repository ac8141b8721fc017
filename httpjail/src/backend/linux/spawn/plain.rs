//! A command without a jail around it, for the modes that only ask it for obedience.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::ExitStatus,
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use super::{
    SpawnError,
    child::NOT_STARTED,
    credentials::Credentials,
    error::{Failure, Step},
    image::Image,
    signals::{AllBlocked, Signals},
};
use crate::backend::linux::user::Identity;

/// What to start, and as whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainPlan<'a> {
    /// The program: a path if it has a slash, else a name to look for in the environment's PATH.
    pub(crate) command: &'a OsStr,
    /// Its arguments, without its name.
    pub(crate) args: &'a [OsString],
    /// Its whole environment.
    pub(crate) environment: &'a [(OsString, OsString)],
    /// Whom it runs as; `None`: as the caller.
    pub(crate) identity: Option<&'a Identity>,
    /// The signals it starts with.
    pub(crate) signals: Signals,
    /// What it has in the place of standard output and standard error, if not the caller's.
    pub(crate) outputs: [Option<BorrowedFd<'a>>; 2],
}

/// The running command. Dropped, it goes on.
#[derive(Debug)]
pub(crate) struct PlainChild {
    pid: Pid,
    pidfd: OwnedFd,
}

/// Starts a command, which keeps process group, session, terminal, directory, umask, limits and
/// descriptors of the caller. It is killed when the thread that called this ends.
///
/// # Errors
///
/// When it can't be started; nothing is left then.
pub(crate) fn spawn_plain(plan: PlainPlan<'_>) -> Result<PlainChild, SpawnError> {
    let mut image = Image::new(plan.command, plan.args, plan.environment)?;
    let (mut report, report_writer) = io::pipe().map_err(SpawnError::Pipe)?;
    let credentials = plan.identity.map(|identity| Credentials {
        uid: identity.uid(),
        gid: identity.gid(),
        groups: identity.groups(),
    });
    let parent = rustix::process::getpid();
    let numbers = [libc::STDOUT_FILENO, libc::STDERR_FILENO];
    let outputs = plan.outputs.map(|output| output.map(|output| output.as_raw_fd()));
    let blocked = AllBlocked::new();
    // SAFETY: the child goes straight to what is async-signal-safe, and doesn't return.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        for (output, number) in outputs.into_iter().zip(numbers) {
            // SAFETY: takes plain numbers. Where it fails, the caller's stays.
            output.map(|output| unsafe { libc::dup2(output, number) });
        }
        let failure = become_command(&mut image, credentials.as_ref(), &plan.signals, parent);
        failure.report(report_writer.as_raw_fd());
        // SAFETY: ends the process without running the parent's exit handlers.
        unsafe { libc::_exit(NOT_STARTED) }
    }
    let pid = Pid::from_raw(pid).filter(|_| pid > 0);
    let pid = pid.ok_or_else(|| SpawnError::Clone(io::Error::last_os_error()))?;
    drop((blocked, report_writer));
    let pidfd =
        pidfd_open(pid, PidfdFlags::empty()).map_err(|error| SpawnError::Pipe(error.into()))?;
    let mut words = Vec::new();
    report.read_to_end(&mut words).map_err(SpawnError::Pipe)?;
    let Ok(words) = words.try_into() else {
        // Closed by the exec without a word: it runs.
        return Ok(PlainChild { pid, pidfd });
    };
    // It ends by itself.
    let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
    let failure = Failure::from_bytes(words).unwrap_or(Failure { step: Step::Execute, errno: 0 });
    Err(failure.into_error(plan.command.to_owned()))
}

/// The child's way to the command; comes back with what it failed at. Async-signal-safe.
fn become_command(
    image: &mut Image,
    credentials: Option<&Credentials<'_>>,
    signals: &Signals,
    parent: Pid,
) -> Failure {
    signals.restore_dispositions();
    if let Some(credentials) = credentials
        && let Err(failure) = credentials.assume()
    {
        return failure;
    }
    // After the change of user, which undoes it.
    // SAFETY: takes plain numbers.
    let follows = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    // SAFETY: takes nothing and can't fail.
    let has_parent = unsafe { libc::getppid() } == parent.as_raw_nonzero().get();
    if follows != 0 || !has_parent {
        return Failure { step: Step::FollowParent, errno: libc::ESRCH };
    }
    signals.restore_mask();
    Failure { step: Step::Execute, errno: image.execute() }
}

impl PlainChild {
    /// Its id.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended. Waits if it hasn't.
    ///
    /// # Errors
    ///
    /// What `waitid(2)` says.
    pub(crate) fn wait(&self) -> io::Result<ExitStatus> {
        let status = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)?;
        let status = status.ok_or_else(|| io::Error::other("waitid returned no status"))?;
        let (code, signal) = (status.exit_status(), status.terminating_signal());
        Ok(ExitStatus::from_raw((code.unwrap_or(0) << 8) | signal.unwrap_or(0)))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// What `pidfd_send_signal(2)` says.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        let signal = Signal::from_named_raw(signal).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }
}

impl AsFd for PlainChild {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
