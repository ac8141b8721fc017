//! The rules that the user wrote, made into engines.

mod error;
mod source;

use std::sync::Arc;

pub use error::RuleError;
pub use source::RuleSource;

use crate::policy::{EngineFactory, NoRule, ProcessInspector};

/// What decides in a run.
#[derive(Clone, Debug)]
pub enum Rules {
    /// No rule was given: all is denied.
    Absent,
}

impl Rules {
    /// Compiles a rule.
    ///
    /// # Errors
    ///
    /// [`RuleError`] when it isn't JavaScript.
    pub fn compile(_source: &RuleSource) -> Result<Self, RuleError> {
        Err(RuleError::Engine { message: "no engine is built in".to_owned() })
    }

    /// The factory of engines for the worker threads; `processes` answers rules that ask which
    /// program connected.
    pub fn into_factory(self, _processes: Arc<dyn ProcessInspector>) -> Arc<dyn EngineFactory> {
        match self {
            Self::Absent => Arc::new(NoRule),
        }
    }
}
