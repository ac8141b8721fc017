//! The one place that decides.

use std::{mem, rc::Rc, sync::Arc, time::Duration};

use http::Request;

use super::{
    Decision, Denial, DenyReason, Engines, Judging, Limits, Opened, Permitted, Pulse, RequestFacts,
    RuleEngine, Seldom,
    engine::Engine,
    judging::{Asked, Entry, permit},
};
use crate::record::{Exchange, Recorder};

/// How often, at most, a mistake of the rule is told.
const WARNING: Duration = Duration::from_secs(1);

/// Judges every request of one worker thread, once, and writes its record.
pub struct Gate {
    engine: Engine,
    recorder: Recorder,
    pulse: Arc<Pulse>,
    warnings: Rc<Seldom>,
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
    /// A gate that asks one of `engines` and tells `recorder`; a watchdog may look at `pulse`.
    pub fn new(engines: &Engines, recorder: Recorder, pulse: Arc<Pulse>) -> Self {
        let warnings = Rc::new(Seldom::every(WARNING));
        Self { engine: engines.engine(), recorder, pulse, warnings }
    }

    /// Makes the engine ready for the next request. Called when nobody waits.
    pub fn prepare(&self) {
        match &self.engine {
            Engine::Local(engine) => engine.borrow_mut().prepare(),
            Engine::Remote(_) => {}
        }
    }

    /// Judges `facts`, or has them judged, for `exchange`. What comes of it has its record, in any
    /// case.
    pub fn judge<T>(&self, facts: RequestFacts, request: T, exchange: &Exchange) -> Judging<T> {
        let facts = Arc::new(facts);
        match &self.engine {
            Engine::Local(engine) => {
                let engine = &mut **engine.borrow_mut();
                Judging::Settled(self.decide(engine, facts, request, exchange))
            }
            Engine::Remote(engine) => {
                let asked = exchange.now();
                let answer = engine.ask(&facts);
                let entry = Entry {
                    recorder: self.recorder.clone(),
                    exchange: exchange.clone(),
                    decided_by: engine.decided_by(&facts),
                    facts,
                    asked,
                    is_written: false,
                };
                let warnings = Rc::clone(&self.warnings);
                Judging::Asked(Box::new(Asked::new(answer, request, entry, warnings)))
            }
        }
    }

    fn decide<T>(
        &self,
        engine: &mut dyn RuleEngine,
        facts: Arc<RequestFacts>,
        request: T,
        exchange: &Exchange,
    ) -> Result<Permitted<T>, Denial> {
        let asked = exchange.now();
        let decision = if self.pulse.begin(&facts) {
            let decision = engine.decide(&facts);
            if !self.pulse.end() {
                // Whoever lost patience has written the record.
                exchange.disown();
                return Err(Denial::new(DenyReason::RuleFailed));
            }
            decision.held_to(facts.scheme)
        } else {
            Decision::Deny(Denial::new(DenyReason::RuleFailed))
        };
        exchange.judged(&facts, &decision, &engine.decided_by(), asked);
        self.recorder.request(&facts, &decision);
        permit(facts, decision, request, &self.warnings)
    }

    /// As [`Gate::judge`], with the header fields of `request`. They are lent where the answer comes at
    /// once.
    pub fn judge_request<B>(
        &self,
        mut facts: RequestFacts,
        mut request: Request<B>,
        exchange: &Exchange,
    ) -> Judging<Request<B>> {
        let Engine::Local(engine) = &self.engine else {
            facts.headers = request.headers().clone().into();
            return self.judge(facts, request, exchange);
        };
        facts.headers = mem::take(request.headers_mut()).into();
        let settled = self.decide(&mut **engine.borrow_mut(), Arc::new(facts), request, exchange);
        Judging::Settled(settled.map(|permitted| {
            let (mut facts, limits, mut request) = permitted.into_parts();
            *request.headers_mut() = mem::take(&mut facts.headers).into_map();
            Permitted::new(facts, limits, request)
        }))
    }

    /// Whether it is worth asking about a connection whose client says nothing.
    pub fn may_open_tcp(&self) -> bool {
        match &self.engine {
            Engine::Local(engine) => engine.borrow().may_open_tcp(),
            Engine::Remote(engine) => engine.may_open_tcp(),
        }
    }

    /// Judges a connection whose client has said nothing yet. It has its record only if that is
    /// enough to let it pass; else what it says will be judged.
    pub async fn judge_silent(&self, facts: RequestFacts, exchange: &Exchange) -> Silent {
        let facts = Arc::new(facts);
        let asked = exchange.now();
        let (decision, decided_by) = match &self.engine {
            Engine::Local(engine) => {
                if !self.pulse.begin(&facts) {
                    return Silent::Unknown;
                }
                let mut engine = engine.borrow_mut();
                let decision = engine.decide(&facts);
                if !self.pulse.end() {
                    exchange.disown();
                    return Silent::Denied;
                }
                (decision, engine.decided_by())
            }
            Engine::Remote(engine) => (engine.ask(&facts).await, engine.decided_by(&facts)),
        };
        let decision = decision.held_to(facts.scheme);
        let Decision::Allow(limits) = decision else { return Silent::Unknown };
        exchange.judged(&facts, &decision, &decided_by, asked);
        self.recorder.request(&facts, &decision);
        Silent::Open(Box::new(Permitted::new(Arc::unwrap_or_clone(facts), limits, ())))
    }

    /// Lets pass what an option of the user's opened, and writes its record.
    pub fn open<T>(
        &self,
        facts: RequestFacts,
        opened: Opened,
        request: T,
        exchange: &Exchange,
    ) -> Permitted<T> {
        let limits = Limits::default();
        let decision = Decision::Allow(limits);
        self.recorder.request(&facts, &decision);
        exchange.judged(&facts, &decision, &opened.decided_by(), None);
        Permitted::new(facts, limits, request)
    }
}
