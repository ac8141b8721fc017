//! Requests whose judgement takes its time.

use std::{rc::Rc, sync::Arc, time::Instant};

use super::{Awaited, DecidedBy, Decision, Denial, DenyReason, Permitted, RequestFacts, Seldom};
use crate::record::{Exchange, Recorder};

/// A request between the question and the decision.
///
/// Dropped undecided, because its client has gone or the run ends, it is a denial and has its
/// record.
#[expect(clippy::large_enum_variant, reason = "what is decided at once is not worth a heap entry")]
pub enum Judging<T> {
    /// It is decided, and recorded.
    Settled(Result<Permitted<T>, Denial>),
    /// Somebody was asked about it.
    Asked(Box<Asked<T>>),
}

/// A request about which somebody was asked.
pub struct Asked<T> {
    answer: Awaited,
    request: T,
    entry: Entry,
    warnings: Rc<Seldom>,
}

impl<T> Judging<T> {
    /// The decision, recorded. Only an allowance yields the [`Permitted`] that forwarding asks for.
    ///
    /// # Errors
    ///
    /// The denial.
    pub async fn settle(self) -> Result<Permitted<T>, Denial> {
        match self {
            Self::Settled(settled) => settled,
            Self::Asked(asked) => (*asked).settle().await,
        }
    }
}

impl<T> Asked<T> {
    pub(super) fn new(answer: Awaited, request: T, entry: Entry, warnings: Rc<Seldom>) -> Self {
        Self { answer, request, entry, warnings }
    }

    async fn settle(self) -> Result<Permitted<T>, Denial> {
        let Self { answer, request, entry, warnings } = self;
        let decision = answer.await.held_to(entry.facts.scheme);
        let facts = entry.record(&decision);
        permit(facts, decision, request, &warnings)
    }
}

/// The record that a request is owed. Dropped before there is a decision, it is a denial's.
pub(super) struct Entry {
    pub(super) recorder: Recorder,
    pub(super) exchange: Exchange,
    pub(super) facts: Arc<RequestFacts>,
    /// Who was asked, and when.
    pub(super) decided_by: DecidedBy,
    pub(super) asked: Option<Instant>,
    /// Whether it was written.
    pub(super) is_written: bool,
}

impl Entry {
    fn record(mut self, decision: &Decision) -> Arc<RequestFacts> {
        self.write(decision);
        Arc::clone(&self.facts)
    }

    fn write(&mut self, decision: &Decision) {
        if !std::mem::replace(&mut self.is_written, true) {
            self.exchange.judged(&self.facts, decision, &self.decided_by, self.asked);
            self.recorder.request(&self.facts, decision);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.write(&Decision::Deny(Denial::new(DenyReason::RuleFailed)));
    }
}

/// What a decision that was recorded comes to.
pub(super) fn permit<T>(
    facts: Arc<RequestFacts>,
    decision: Decision,
    request: T,
    warnings: &Seldom,
) -> Result<Permitted<T>, Denial> {
    match decision {
        Decision::Allow(limits) => Ok(Permitted::new(Arc::unwrap_or_clone(facts), limits, request)),
        Decision::Deny(denial) => {
            warn_of(denial.reason, warnings);
            Err(denial)
        }
    }
}

/// Tells a rule's author what a jailed program can't be told.
fn warn_of(reason: DenyReason, warnings: &Seldom) {
    if reason == DenyReason::NotForTcp && warnings.is_due(Instant::now()) {
        tracing::warn!(
            "connection denied: the rule allows it like a request, but it isn't HTTP, and only \
             {{allow: {{tcp: true}}}} opens it"
        );
    }
}
