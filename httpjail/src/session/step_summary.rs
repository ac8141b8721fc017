//! The page of the job that a run is a part of.

use std::path::Path;

use crate::{
    backend::user::{Identity, as_user},
    cli::plan::{ProxyPlan, Summary},
    record::LogFile,
};

/// Opens the file behind `GITHUB_STEP_SUMMARY`, the page of a job, as the invoking user would, if the
/// end of this run is to be told. The run goes on without: the summary is told on standard error, too.
pub(super) fn open(plan: &ProxyPlan, identity: Option<&Identity>) -> Option<LogFile> {
    if plan.summary == Summary::None {
        return None;
    }
    let path = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty())?;
    let opened = as_user(identity, || LogFile::open(Path::new(&path)));
    let opened = opened.inspect_err(|error| {
        tracing::warn!(%error, "the job's page gets no summary ($GITHUB_STEP_SUMMARY)");
    });
    let file = opened.ok()?;
    if let Some(identity) = identity
        && let Err(error) = file.give_to(identity.uid(), identity.gid())
    {
        tracing::warn!(%error, "the file of the job's page stays root's");
    }
    Some(file)
}
