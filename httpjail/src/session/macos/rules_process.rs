//! Rules that are programs (`--sh`, `--proc`): on Linux a process of their own runs them; here there is
//! none yet.

use std::convert::Infallible;

use super::MacError;
use crate::{rules::Rules, session::SessionError};

/// The process that runs a rule's program: there never is one.
#[derive(Debug)]
pub(in crate::session) enum RulesProcess {}

impl RulesProcess {
    pub(in crate::session) fn stop(self) {
        match self {}
    }
}

/// Gives rules back that need no process of their own; the cgroup is never asked for.
///
/// # Errors
///
/// When they are a program.
pub(in crate::session) fn start(
    rules: Rules,
    _cgroup: impl FnOnce() -> Result<Option<Infallible>, SessionError>,
) -> Result<(Rules, Option<RulesProcess>), SessionError> {
    refuse(&rules).map(|()| (rules, None))
}

/// Refuses rules that are a program.
///
/// # Errors
///
/// When they are one.
pub(super) fn refuse(rules: &Rules) -> Result<(), SessionError> {
    match rules {
        Rules::Program(program) => Err(MacError::NotYet(program.kind().option()).into()),
        Rules::Absent | Rules::QuickJs(_) | Rules::Linked(_) => Ok(()),
    }
}
