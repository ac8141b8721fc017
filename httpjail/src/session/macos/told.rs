//! The modes that tell programs of the proxy: only Linux has them yet.

use super::SessionError;
use crate::{
    cli::plan::{RunPlan, ServerPlan},
    session::Outcome,
};

/// Refuses `--weak`.
///
/// # Errors
///
/// Always.
pub fn run_weak(_plan: RunPlan) -> Result<Outcome, SessionError> {
    Err(SessionError::NotYet("--weak"))
}

/// Refuses `--server`.
///
/// # Errors
///
/// Always.
pub fn run_server(_plan: ServerPlan) -> Result<Outcome, SessionError> {
    Err(SessionError::NotYet("--server"))
}
