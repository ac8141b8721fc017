//! The typestates of a run; each step consumes the last, and dropping one undoes it.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use super::{
    Outcome, SessionError,
    arm::{Planned, Released, Running},
    reap,
    supervise::{End, RuleChanges, Watch, earliest},
};
use crate::cli::plan::RunPlan;

/// How long the last output of a command that had to be ended may take.
const MOMENT: Duration = Duration::from_secs(1);

/// Runs the plan's command in a jail of its own, from nothing to nothing left.
///
/// # Errors
///
/// When the jail can't be put up (the command has not run then), or can't be served any more (the
/// jail was ended then).
pub fn run(plan: RunPlan) -> Result<Outcome, SessionError> {
    let timeout = plan.timeout;
    let armed = Planned::check(plan)?.arm()?;
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    match armed.release(deadline)? {
        Released::Runs(running) => finish(*running, deadline),
        Released::Ended(end) => outcome(end),
    }
}

/// Removes what dead runs left. Only now: while the command runs, signals and the deadline must
/// not wait for the dead.
fn sweep(running: &Running) {
    let swept = reap::sweep(running.hierarchy(), Some(running.parent()));
    if swept > 0 {
        tracing::info!(swept, "removed what dead runs had left");
    }
}

/// Waits for the command, then takes the jail down, whatever the wait said.
fn finish(mut running: Running, deadline: Option<Instant>) -> Result<Outcome, SessionError> {
    let inspect = running.take_inspect();
    let rule = running.take_rule();
    let rule = rule.map(|watch| RuleChanges { watch, proxy: running.proxy() });
    let in_jail = |pid| running.holds(pid);
    let mut watch = Watch {
        signals: running.signals(),
        command: running.command(),
        proxy: running.proxy().as_fd(),
        rules: running.rules(),
        inspect,
        rule,
        in_jail: &in_jail,
        deadline,
        grace: None,
    };
    let ended = watch.until_end();
    let delivered = match ended {
        Ok(End::Exited(_) | End::Signalled(_)) => earliest(deadline, watch.grace),
        // It had no time left.
        Ok(End::TimedOut | End::Overstayed(_) | End::ProxyDied | End::RulesDied) | Err(_) => {
            Some(Instant::now() + MOMENT)
        }
    };
    sweep(&running);
    running.close(delivered)?;
    outcome(ended.map_err(SessionError::Wait)?)
}

/// What the end of a command means for the exit code.
pub(super) fn outcome(end: End) -> Result<Outcome, SessionError> {
    match end {
        End::Exited(status) => Ok(Outcome::Exited(status)),
        End::Signalled(signal) => Ok(Outcome::Signalled(signal)),
        End::Overstayed(signal) => Ok(Outcome::Signalled(u8::try_from(signal).unwrap_or(u8::MAX))),
        End::TimedOut => Ok(Outcome::TimedOut),
        End::ProxyDied => Err(SessionError::ProxyDied),
        End::RulesDied => Err(SessionError::RulesDied),
    }
}
