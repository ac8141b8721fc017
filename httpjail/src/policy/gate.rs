//! The one place that decides.

use std::cell::RefCell;

use super::{Decision, Denial, Permitted, RequestFacts, RuleEngine};
use crate::record::Recorder;

/// Judges every request of one worker thread, once, and writes its record.
pub struct Gate {
    engine: RefCell<Box<dyn RuleEngine>>,
    recorder: Recorder,
}

impl Gate {
    /// A gate that asks `engine` and tells `recorder`.
    pub fn new(engine: Box<dyn RuleEngine>, recorder: Recorder) -> Self {
        Self { engine: RefCell::new(engine), recorder }
    }

    /// Makes the engine ready for the next request. Called when nobody waits.
    pub fn prepare(&self) {
        self.engine.borrow_mut().prepare();
    }

    /// Judges `facts`. Only an allowance yields the [`Permitted`] that forwarding asks for.
    ///
    /// # Errors
    ///
    /// The denial, already recorded.
    pub fn judge<T>(&self, facts: RequestFacts, request: T) -> Result<Permitted<T>, Denial> {
        let decision = self.engine.borrow_mut().decide(&facts);
        self.recorder.request(&facts, &decision);
        match decision {
            Decision::Allow(limits) => Ok(Permitted::new(facts, limits, request)),
            Decision::Deny(denial) => Err(denial),
        }
    }
}
