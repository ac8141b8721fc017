//! Rule engines: what the user wrote, as something that judges requests.

mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod listed;
mod quickjs;
mod reload;
mod source;

use std::sync::Arc;

pub use error::RuleError;
pub use listed::listed;
pub use quickjs::{Js, Replaced};
pub use reload::Reload;
pub use source::RuleSource;

use crate::policy::{EngineFactory, NoRule, RunFacts};

/// What decides in a run.
#[derive(Clone, Debug)]
pub enum Rules {
    /// No rule was given: all is denied.
    Absent,
    /// A rule in JavaScript.
    QuickJs(Js),
}

impl Rules {
    /// The rule in JavaScript, by which another may be put in its place in the engines that the
    /// factory makes.
    pub fn javascript(&self) -> Option<Js> {
        match self {
            Self::Absent => None,
            Self::QuickJs(js) => Some(js.clone()),
        }
    }

    /// Checks a rule in JavaScript; nothing of it is run.
    ///
    /// # Errors
    ///
    /// [`RuleError`] with the place of the error.
    pub fn compile(source: &RuleSource) -> Result<Self, RuleError> {
        Js::compile(source.name(), source.text()).map(Self::QuickJs)
    }

    /// The factory of engines for the worker threads of `run`.
    pub fn into_factory(self, run: RunFacts) -> Arc<dyn EngineFactory> {
        match self {
            Self::Absent => Arc::new(NoRule),
            Self::QuickJs(js) => Arc::new(js.in_run(run)),
        }
    }
}
