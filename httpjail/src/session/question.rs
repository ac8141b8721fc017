//! One question to the rules, without a run around it.

use std::sync::Arc;

use super::{SessionError, rules_process};
use crate::{
    policy::{Decision, Lists, RequestFacts, RunFacts},
    rules::{Rules, listed},
};

/// What `lists`, and else `rules`, say about one request. A program of theirs runs as it would in a run, and is gone
/// when this returns.
///
/// Must be called while this process has one thread.
///
/// # Errors
///
/// When nobody can be asked.
pub fn decide(
    lists: Lists,
    rules: Rules,
    facts: &Arc<RequestFacts>,
    run: RunFacts,
) -> Result<Decision, SessionError> {
    let (rules, process) = rules_process::start(rules, || Ok(None))?;
    let engines = listed(lists, rules.into_engines(run).map_err(SessionError::Rules)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let decision = runtime.map_err(SessionError::Rules)?.block_on(engines.decide(facts));
    if let Some(process) = process {
        process.stop();
    }
    Ok(decision.held_to(facts.scheme))
}
