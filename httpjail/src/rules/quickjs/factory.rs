//! A checked rule, from which each worker thread makes its engine.

use std::{fmt, sync::Arc};

use super::{engine::JsEngine, sandbox::Sandbox};
use crate::{
    policy::{EngineFactory, RuleEngine, RunFacts},
    rules::{RuleError, RuleSource},
};

/// A rule in JavaScript that is known to compile.
#[derive(Clone)]
pub struct Js {
    source: Arc<RuleSource>,
    run: RunFacts,
}

impl Js {
    /// Checks a rule; `name` is how errors speak of it. Nothing of it is run.
    ///
    /// # Errors
    ///
    /// [`RuleError::Syntax`] with the place of the error.
    pub fn compile(name: &str, source: &str) -> Result<Self, RuleError> {
        let source = RuleSource::new(name, source);
        Sandbox::check(&source)?;
        Ok(Self { source: Arc::new(source), run: RunFacts::default() })
    }

    /// The same rule, for a run.
    #[must_use]
    pub fn in_run(self, run: RunFacts) -> Self {
        Self { run, ..self }
    }
}

impl EngineFactory for Js {
    fn engine(&self) -> Box<dyn RuleEngine> {
        Box::new(JsEngine::new(Arc::clone(&self.source), self.run.clone()))
    }
}

impl fmt::Debug for Js {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Js").field("source", &self.source).finish_non_exhaustive()
    }
}
