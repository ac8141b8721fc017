//! Opening what a run writes to on behalf of the invoking user.

use std::path::PathBuf;

use crate::{
    backend::user::{Identity, as_user},
    cli::plan::ProxyPlan,
    record::LogFile,
    session::{SessionError, service::Files, step_summary},
};

/// Opens all that `plan` writes to, with the rights of `owner`.
///
/// Must be called while this process has one thread.
///
/// # Errors
///
/// When a log can't be opened; but a run goes on without the page of its job.
pub(super) fn open_all(plan: &ProxyPlan, owner: Option<&Identity>) -> Result<Files, SessionError> {
    let open = |path: &Option<PathBuf>| {
        path.as_deref().map(|path| as_user(owner, || LogFile::open(path))).transpose()
    };
    Ok(Files {
        log: open(&plan.request_log)?,
        records: open(&plan.record)?,
        step_summary: step_summary::open(plan, owner),
    })
}
