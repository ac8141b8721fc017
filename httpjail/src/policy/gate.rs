//! The one place that decides.

use std::{
    cell::RefCell,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use http::Request;

use super::{
    Decision, Denial, DenyReason, Limits, Opened, Permitted, Pulse, RequestFacts, RuleEngine,
    Seldom,
};
use crate::record::{Exchange, Recorder};

/// How often, at most, a mistake of the rule is told.
const WARNING: Duration = Duration::from_secs(1);

/// Judges every request of one worker thread, once, and writes its record.
pub struct Gate {
    engine: RefCell<Box<dyn RuleEngine>>,
    recorder: Recorder,
    pulse: Arc<Pulse>,
    warnings: Seldom,
}

/// What came of a question about a connection whose client has said nothing yet.
#[derive(Debug)]
pub enum Silent {
    /// It may pass, whatever will be said.
    Open(Box<Permitted<()>>),
    /// That depends on what it will say; nothing was recorded.
    Unknown,
    /// It was denied and recorded: the rule hung.
    Denied,
}

impl Gate {
    /// A gate that asks `engine` and tells `recorder`; a watchdog may look at `pulse`.
    pub fn new(engine: Box<dyn RuleEngine>, recorder: Recorder, pulse: Arc<Pulse>) -> Self {
        Self { engine: RefCell::new(engine), recorder, pulse, warnings: Seldom::every(WARNING) }
    }

    /// Makes the engine ready for the next request. Called when nobody waits.
    pub fn prepare(&self) {
        self.engine.borrow_mut().prepare();
    }

    /// Judges `facts`, for `exchange`. Only an allowance yields the [`Permitted`] that forwarding
    /// asks for.
    ///
    /// # Errors
    ///
    /// The denial, already recorded.
    pub fn judge<T>(
        &self,
        facts: RequestFacts,
        request: T,
        exchange: &Exchange,
    ) -> Result<Permitted<T>, Denial> {
        let facts = Arc::new(facts);
        let asked = exchange.now();
        let decision = if self.pulse.begin(&facts) {
            let decision = self.engine.borrow_mut().decide(&facts);
            if !self.pulse.end() {
                // Whoever lost patience has written the record.
                exchange.disown();
                return Err(Denial::new(DenyReason::RuleFailed));
            }
            decision.held_to(facts.scheme)
        } else {
            Decision::Deny(Denial::new(DenyReason::RuleFailed))
        };
        self.decided(&facts, &decision, exchange, asked);
        match decision {
            Decision::Allow(limits) => {
                Ok(Permitted::new(Arc::unwrap_or_clone(facts), limits, request))
            }
            Decision::Deny(denial) => {
                self.warn_of(denial.reason);
                Err(denial)
            }
        }
    }

    /// Judges `facts` of `request`, which lends them its header fields meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`Gate::judge`].
    pub fn judge_request<B>(
        &self,
        mut facts: RequestFacts,
        mut request: Request<B>,
        exchange: &Exchange,
    ) -> Result<Permitted<Request<B>>, Denial> {
        facts.headers = mem::take(request.headers_mut()).into();
        let (mut facts, limits, mut request) = self.judge(facts, request, exchange)?.into_parts();
        *request.headers_mut() = mem::take(&mut facts.headers).into_map();
        Ok(Permitted::new(facts, limits, request))
    }

    /// Whether it is worth asking about a connection whose client says nothing.
    pub fn may_open_tcp(&self) -> bool {
        self.engine.borrow().may_open_tcp()
    }

    /// Judges a connection whose client has said nothing yet. It has its record only if that is
    /// enough to let it pass; else what it says will be judged.
    pub fn judge_silent(&self, facts: RequestFacts, exchange: &Exchange) -> Silent {
        let facts = Arc::new(facts);
        let asked = exchange.now();
        if !self.pulse.begin(&facts) {
            return Silent::Unknown;
        }
        let decision = self.engine.borrow_mut().decide(&facts);
        if !self.pulse.end() {
            exchange.disown();
            return Silent::Denied;
        }
        let decision = decision.held_to(facts.scheme);
        let Decision::Allow(limits) = decision else { return Silent::Unknown };
        self.decided(&facts, &decision, exchange, asked);
        Silent::Open(Box::new(Permitted::new(Arc::unwrap_or_clone(facts), limits, ())))
    }

    /// Lets pass what an option of the user's opened, and writes its record.
    pub fn open<T>(
        &self,
        facts: RequestFacts,
        _opened: Opened,
        request: T,
        exchange: &Exchange,
    ) -> Permitted<T> {
        let limits = Limits::default();
        let decision = Decision::Allow(limits);
        self.recorder.request(&facts, &decision);
        exchange.judged(&facts, &decision, "option", None);
        Permitted::new(facts, limits, request)
    }

    fn decided(
        &self,
        facts: &RequestFacts,
        decision: &Decision,
        exchange: &Exchange,
        asked: Option<Instant>,
    ) {
        exchange.judged(facts, decision, self.engine.borrow().name(), asked);
        self.recorder.request(facts, decision);
    }

    /// Tells a rule's author what a jailed program can't be told.
    fn warn_of(&self, reason: DenyReason) {
        if reason == DenyReason::NotForTcp && self.warnings.is_due(Instant::now()) {
            tracing::warn!(
                "connection denied: the rule allows it like a request, but it isn't HTTP, and only \
                 {{allow: {{tcp: true}}}} opens it"
            );
        }
    }
}
