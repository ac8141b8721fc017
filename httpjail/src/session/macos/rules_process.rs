//! The process that runs a rule's program (`--sh`, `--proc`), as the process that asks it sees it: made
//! while there is one thread, told to end when nobody asks any more.

use std::{
    convert::Infallible,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    backend::{
        macos::{process, role},
        user::{self, Identity},
    },
    rules::{Link, Program, Rules},
    session::{
        SessionError,
        control::{Channel, STOP},
        rules_role::{self, RulesRole},
    },
};

/// How long the program may take to be started.
const START: Duration = Duration::from_secs(10);
/// How long it may take to end when it is told to, before it is killed.
const END: Duration = Duration::from_secs(1);

/// The process. Dropped, it is killed.
#[derive(Debug)]
pub(in crate::session) struct RulesProcess {
    pid: i32,
    control: Channel,
    /// Whether it is this process's to end.
    is_kept: bool,
}

/// Tells whether the process has ended by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Died(Arc<AtomicBool>);

impl Died {
    /// Whether it has.
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Has the program of `rules` run by a process of its own, if they are one; there is no cgroup to
/// make.
///
/// Must be called while this process has one thread.
///
/// # Errors
///
/// When the program can't be started: nothing else was run then.
pub(in crate::session) fn start(
    rules: Rules,
    _cgroup: impl FnOnce() -> Result<Option<Infallible>, SessionError>,
) -> Result<(Rules, Option<RulesProcess>), SessionError> {
    let program = match rules {
        Rules::Program(program) => program,
        rules @ (Rules::Absent | Rules::QuickJs(_) | Rules::Linked(_)) => return Ok((rules, None)),
    };
    let user = user::invoking_user()?;
    let environment = user::own_environment(std::env::vars_os(), user.as_ref());
    let program = program.with_environment(environment);
    let (process, link) = RulesProcess::start(program, user.as_ref())?;
    Ok((Rules::Linked(link), Some(process)))
}

impl RulesProcess {
    fn start(program: Program, user: Option<&Identity>) -> Result<(Self, Link), SessionError> {
        let failed = SessionError::Rules;
        let (asks, answers) = UnixStream::pair().map_err(failed)?;
        let (control, listens) = Channel::pair().map_err(failed)?;
        let role = RulesRole {
            program: program.clone(),
            control: listens,
            questions: answers,
            kill_switch: None,
        };
        let keep = role.descriptors();
        let pid = role::fork(user, &keep, move || role.main()).map_err(failed)?;
        let process = Self { pid, control, is_kept: true };
        process.ready(&program)?;
        Ok((process, Link::new(&program, asks)))
    }

    /// Waits for its word that the program can be asked.
    fn ready(&self, program: &Program) -> Result<(), SessionError> {
        if !wait_for(self.control.as_fd(), START).map_err(SessionError::Rules)? {
            return Err(SessionError::Rules(io::ErrorKind::TimedOut.into()));
        }
        rules_role::take_report(&self.control, program)
    }

    /// Leaves the process to another that holds it, too.
    pub(super) fn leave(mut self) {
        self.is_kept = false;
    }

    /// Calls `then`, on a thread of its own, if the process ends before it is told to.
    ///
    /// # Errors
    ///
    /// When the thread can't be started.
    pub(super) fn when_it_dies(&self, then: impl FnOnce() + Send + 'static) -> io::Result<Died> {
        let (pid, died) = (self.pid, Died::default());
        let tells = died.clone();
        let wait = move || {
            process::await_end(pid);
            tells.0.store(true, Ordering::Release);
            then();
        };
        thread::Builder::new().name("rules".to_owned()).spawn(wait)?;
        Ok(died)
    }

    /// Tells it to end: nobody asks any more.
    pub(in crate::session) fn stop(self) {
        // One that is dead already needs no word.
        let _ = self.control.send(STOP);
        // It closes its end when it ends.
        if !matches!(wait_for(self.control.as_fd(), END), Ok(true)) {
            tracing::warn!("the rule's program did not end in time and was killed");
        }
    }
}

impl Drop for RulesProcess {
    fn drop(&mut self) {
        if self.is_kept {
            // It is reaped when this process ends, which is soon.
            process::signal(self.pid, libc::SIGKILL);
        }
    }
}

/// Waits until `fd` is readable, or its other end is gone. `false`: it isn't after `limit`.
fn wait_for(fd: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    let timeout = Timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    Ok(poll(&mut fds, Some(&timeout))? > 0)
}
