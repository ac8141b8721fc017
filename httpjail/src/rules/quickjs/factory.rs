//! A checked rule, from which each worker thread makes its engine, and which may be replaced while
//! they judge.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{engine::JsEngine, sandbox::Sandbox};
use crate::{
    policy::{EngineFactory, RuleEngine, RunFacts},
    rules::{RuleError, RuleSource},
};

/// A rule in JavaScript that is known to compile.
#[derive(Clone)]
pub struct Js {
    rule: Arc<Rule>,
    run: RunFacts,
}

/// The rule that holds now, for all engines.
#[derive(Debug)]
pub(super) struct Rule {
    source: Mutex<Arc<RuleSource>>,
    /// Which one in a row it is; engines look at this alone before each decision.
    number: AtomicU64,
}

/// What came of another text for the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// Decisions that begin from now on are made by it.
    New,
    /// It is the text that there was.
    Same,
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
        Ok(Self { rule: Arc::new(Rule::new(source)), run: RunFacts::default() })
    }

    /// How errors speak of it: `--js`, or the file's path.
    pub fn name(&self) -> String {
        self.rule.source().name().to_owned()
    }

    /// The same rule, for a run.
    #[must_use]
    pub fn in_run(self, run: RunFacts) -> Self {
        Self { run, ..self }
    }

    /// Puts another rule in this one's place, in all engines that were made from it or its clones.
    ///
    /// # Errors
    ///
    /// As for [`Js::compile`]; the rule stays as it is then.
    pub fn replace(&self, source: RuleSource) -> Result<Replaced, RuleError> {
        if self.rule.lock().text() == source.text() {
            return Ok(Replaced::Same);
        }
        Sandbox::check(&source)?;
        *self.rule.lock() = Arc::new(source);
        self.rule.number.fetch_add(1, Ordering::Release);
        Ok(Replaced::New)
    }
}

impl Rule {
    /// The first rule.
    pub(super) fn new(source: RuleSource) -> Self {
        Self { source: Mutex::new(Arc::new(source)), number: AtomicU64::new(0) }
    }

    /// The number of the rule that holds now.
    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// The rule that holds now, or one that took its place since its number was read.
    pub(super) fn source(&self) -> Arc<RuleSource> {
        Arc::clone(&self.lock())
    }

    /// A panic elsewhere leaves the source as it was: it is replaced whole.
    fn lock(&self) -> MutexGuard<'_, Arc<RuleSource>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EngineFactory for Js {
    fn engine(&self) -> Box<dyn RuleEngine> {
        Box::new(JsEngine::new(Arc::clone(&self.rule), self.run.clone()))
    }
}

impl fmt::Debug for Js {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Js").field("rule", &self.rule).finish_non_exhaustive()
    }
}
