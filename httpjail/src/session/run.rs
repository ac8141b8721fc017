//! The typestates of a run; each step consumes the last, and dropping one undoes it.

use std::time::Instant;

use super::{
    SessionError,
    arm::{Armed, Planned},
    reap,
    supervise::{End, Watch},
};
use crate::cli::plan::RunPlan;

/// How the command ended, for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It exited with this status.
    Exited(u8),
    /// It died of this signal.
    Signaled(u8),
    /// `--timeout` killed it.
    TimedOut,
}

/// Runs the plan's command in a jail of its own, from nothing to nothing left.
///
/// # Errors
///
/// When the jail can't be put up (the command has not run then), or can't be served any more (the
/// jail was ended then).
pub fn run(plan: RunPlan) -> Result<Outcome, SessionError> {
    Planned::check(plan)?.arm()?.start()?.finish()
}

/// The command runs.
pub(super) struct Running {
    armed: Armed,
    deadline: Option<Instant>,
}

impl Armed {
    /// Lets the command go.
    fn start(mut self) -> Result<Running, SessionError> {
        let deadline = self.timeout().map(|timeout| Instant::now() + timeout);
        self.release()?;
        // Off the critical path: the command runs already.
        let swept = reap::sweep(self.hierarchy(), Some(self.parent()));
        if swept > 0 {
            tracing::info!(swept, "removed what dead runs had left");
        }
        Ok(Running { armed: self, deadline })
    }
}

impl Running {
    /// Waits for the command, then takes the jail down, whatever the wait said.
    fn finish(mut self) -> Result<Outcome, SessionError> {
        let ended = self.wait();
        let closed = self.armed.close();
        let outcome = match ended? {
            End::Exited(status) => Outcome::Exited(status),
            End::Signaled(signal) => Outcome::Signaled(signal),
            End::TimedOut => Outcome::TimedOut,
            End::Overstayed(signal) => {
                Outcome::Signaled(u8::try_from(signal).unwrap_or(u8::MAX))
            }
            End::ProxyDied => return Err(SessionError::ProxyDied),
        };
        closed?;
        Ok(outcome)
    }

    fn wait(&mut self) -> Result<End, SessionError> {
        let inspect = self.armed.take_inspect();
        let in_jail = |pid| self.armed.holds(pid);
        let watch = Watch {
            signals: self.armed.signals(),
            command: self.armed.command(),
            proxy: self.armed.proxy(),
            inspect,
            in_jail: &in_jail,
            deadline: self.deadline,
        };
        watch.until_end().map_err(SessionError::Wait)
    }
}
