//! The one place that decides.

use std::{cell::RefCell, sync::Arc};

use super::{Decision, Denial, DenyReason, Permitted, Pulse, RequestFacts, RuleEngine};
use crate::record::Recorder;

/// Judges every request of one worker thread, once, and writes its record.
pub struct Gate {
    engine: RefCell<Box<dyn RuleEngine>>,
    recorder: Recorder,
    pulse: Arc<Pulse>,
}

impl Gate {
    /// A gate that asks `engine` and tells `recorder`; a watchdog may look at `pulse`.
    pub fn new(engine: Box<dyn RuleEngine>, recorder: Recorder, pulse: Arc<Pulse>) -> Self {
        Self { engine: RefCell::new(engine), recorder, pulse }
    }

    /// Judges `facts`. Only an allowance yields the [`Permitted`] that forwarding asks for.
    ///
    /// # Errors
    ///
    /// The denial, already recorded.
    pub fn judge<T>(&self, facts: RequestFacts, request: T) -> Result<Permitted<T>, Denial> {
        let facts = Arc::new(facts);
        let decision = if self.pulse.begin(&facts) {
            let decision = self.engine.borrow_mut().decide(&facts);
            if !self.pulse.end() {
                // Whoever lost patience has written the record.
                return Err(Denial::new(DenyReason::RuleFailed));
            }
            decision
        } else {
            Decision::Deny(Denial::new(DenyReason::RuleFailed))
        };
        self.recorder.request(&facts, &decision);
        match decision {
            Decision::Allow(limits) => {
                Ok(Permitted::new(Arc::unwrap_or_clone(facts), limits, request))
            }
            Decision::Deny(denial) => Err(denial),
        }
    }
}
