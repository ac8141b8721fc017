//! The modes that tell programs of the proxy: only Linux has them yet.

use super::MacError;
use crate::{
    cli::plan::{ContainerPlan, RunPlan, ServerPlan},
    session::{Outcome, SessionError},
};

/// Refuses `--weak`.
///
/// # Errors
///
/// Always.
pub fn run_weak(_plan: RunPlan) -> Result<Outcome, SessionError> {
    Err(MacError::NotYet("--weak").into())
}

/// Refuses `--server`.
///
/// # Errors
///
/// Always.
pub fn run_server(_plan: ServerPlan) -> Result<Outcome, SessionError> {
    Err(MacError::NotYet("--server").into())
}

/// Refuses `--docker-run`.
///
/// # Errors
///
/// Always: containers of a Mac run in a virtual machine, whose cgroups are out of reach.
pub fn run_container(_plan: ContainerPlan) -> Result<Outcome, SessionError> {
    Err(MacError::NotYet("--docker-run").into())
}
