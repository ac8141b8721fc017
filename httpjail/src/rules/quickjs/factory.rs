//! A checked rule, from which each worker thread makes its engine.

use std::{fmt, io, sync::Arc};

use super::{engine::JsEngine, sandbox::Sandbox};
use crate::{
    policy::{EngineFactory, ProcessInspector, RuleEngine},
    rules::{RuleError, RuleSource},
};

/// A rule in JavaScript that is known to compile.
#[derive(Clone)]
pub struct Js {
    source: Arc<RuleSource>,
    inspector: Arc<dyn ProcessInspector>,
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
        Ok(Self { source: Arc::new(source), inspector: Arc::new(Blind) })
    }

    /// The same rule, with an inspector that `r.process.exe` asks.
    #[must_use]
    pub fn with_inspector(self, inspector: Arc<dyn ProcessInspector>) -> Self {
        Self { inspector, ..self }
    }
}

impl EngineFactory for Js {
    fn engine(&self) -> Box<dyn RuleEngine> {
        Box::new(JsEngine::new(Arc::clone(&self.source), Arc::clone(&self.inspector)))
    }
}

impl fmt::Debug for Js {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Js").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The inspector until there is one: knows no process.
struct Blind;

impl ProcessInspector for Blind {
    fn executable(&self, _pid: u32) -> io::Result<Option<String>> {
        Ok(None)
    }
}
