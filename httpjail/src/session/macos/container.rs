//! Containers: a Mac's run in a virtual machine, out of reach of what jails a command.

use super::MacError;
use crate::{
    cli::plan::ContainerPlan,
    session::{Outcome, SessionError},
};

/// Refuses `--docker-run`.
///
/// # Errors
///
/// Always: containers of a Mac run in a virtual machine, whose cgroups are out of reach.
pub fn run_container(_plan: ContainerPlan) -> Result<Outcome, SessionError> {
    Err(MacError::Unsupported("--docker-run").into())
}
