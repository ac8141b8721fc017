//! The one place that decides.

use std::{mem, rc::Rc, sync::Arc, time::Duration};

use http::Request;

use super::{
    Decision, Denial, DenyReason, Engines, Judging, Limits, Opened, Permitted, Pulse, RequestFacts,
    RuleEngine, Seldom,
    engine::Engine,
    judging::{Asked, Entry, permit},
};
use crate::record::Recorder;

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

    /// Judges `facts`, or has them judged. What comes of it has its record, in any case.
    pub fn judge<T>(&self, facts: RequestFacts, request: T) -> Judging<T> {
        let facts = Arc::new(facts);
        match &self.engine {
            Engine::Local(engine) => {
                Judging::Settled(self.decide(&mut **engine.borrow_mut(), facts, request))
            }
            Engine::Remote(engine) => {
                let answer = engine.ask(&facts);
                let entry = Entry::new(self.recorder.clone(), facts);
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
    ) -> Result<Permitted<T>, Denial> {
        let decision = if self.pulse.begin(&facts) {
            let decision = engine.decide(&facts);
            if !self.pulse.end() {
                // Whoever lost patience has written the record.
                return Err(Denial::new(DenyReason::RuleFailed));
            }
            decision.held_to(facts.scheme)
        } else {
            Decision::Deny(Denial::new(DenyReason::RuleFailed))
        };
        self.recorder.request(&facts, &decision);
        permit(facts, decision, request, &self.warnings)
    }

    /// As [`Gate::judge`], with the header fields of `request`. They are lent where the answer comes at
    /// once.
    pub fn judge_request<B>(
        &self,
        mut facts: RequestFacts,
        mut request: Request<B>,
    ) -> Judging<Request<B>> {
        let Engine::Local(engine) = &self.engine else {
            facts.headers = request.headers().clone().into();
            return self.judge(facts, request);
        };
        facts.headers = mem::take(request.headers_mut()).into();
        let settled = self.decide(&mut **engine.borrow_mut(), Arc::new(facts), request);
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
    pub async fn judge_silent(&self, facts: RequestFacts) -> Silent {
        let facts = Arc::new(facts);
        let decision = match &self.engine {
            Engine::Local(engine) => {
                if !self.pulse.begin(&facts) {
                    return Silent::Unknown;
                }
                let decision = engine.borrow_mut().decide(&facts);
                if !self.pulse.end() {
                    return Silent::Denied;
                }
                decision
            }
            Engine::Remote(engine) => engine.ask(&facts).await,
        };
        let decision = decision.held_to(facts.scheme);
        let Decision::Allow(limits) = decision else { return Silent::Unknown };
        self.recorder.request(&facts, &decision);
        Silent::Open(Box::new(Permitted::new(Arc::unwrap_or_clone(facts), limits, ())))
    }

    /// Lets pass what an option of the user's opened, and writes its record.
    pub fn open<T>(&self, facts: RequestFacts, _opened: Opened, request: T) -> Permitted<T> {
        let limits = Limits::default();
        self.recorder.request(&facts, &Decision::Allow(limits));
        Permitted::new(facts, limits, request)
    }
}
