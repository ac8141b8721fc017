//! The engine of one worker thread: judges, and starts afresh after damage.

use std::sync::Arc;

use super::sandbox::{Outcome, Sandbox};
use crate::{
    policy::{Decision, Denial, DenyReason, ProcessInspector, RequestFacts, RuleEngine},
    rules::{RuleSource, warnings::Warnings},
};

/// Judges requests by a rule in JavaScript.
pub(super) struct JsEngine {
    source: Arc<RuleSource>,
    inspector: Arc<dyn ProcessInspector>,
    /// `None` before the first request, and after damage until the next one.
    sandbox: Option<Sandbox>,
    warnings: Warnings,
    /// Whether the rule has the word `tcp`, without which it hardly says `{allow: {tcp: true}}`.
    knows_tcp: bool,
}

impl JsEngine {
    /// An engine for the calling thread. Its world is made when the first request is about to
    /// come: a command that sends none doesn't wait for it.
    pub(super) fn new(source: Arc<RuleSource>, inspector: Arc<dyn ProcessInspector>) -> Self {
        let knows_tcp = source.text().contains("tcp");
        Self { source, inspector, sandbox: None, warnings: Warnings::default(), knows_tcp }
    }

    fn restore(&mut self) {
        match Sandbox::new(&self.source, Arc::clone(&self.inspector)) {
            Ok(sandbox) => self.sandbox = Some(sandbox),
            Err(error) => self
                .warnings
                .warn("requests denied: the rule engine can't be made", &error.to_string()),
        }
    }

    fn failed(&mut self, what: &'static str, detail: &str, message: Option<&str>) -> Decision {
        self.warnings.warn(what, detail);
        let message = message.map(str::to_owned);
        Decision::Deny(Denial { reason: DenyReason::RuleFailed, message })
    }
}

impl RuleEngine for JsEngine {
    fn prepare(&mut self) {
        if self.sandbox.is_none() {
            self.restore();
        }
    }

    fn may_open_tcp(&self) -> bool {
        self.knows_tcp
    }

    fn decide(&mut self, facts: &RequestFacts) -> Decision {
        self.prepare();
        let Some(sandbox) = &self.sandbox else {
            return Decision::Deny(Denial {
                reason: DenyReason::RuleFailed,
                message: Some(FAILED.to_owned()),
            });
        };
        match sandbox.decide(facts) {
            Ok(Outcome::Decided(decision)) => decision,
            Ok(Outcome::Meaningless(value)) => {
                self.failed("request denied: the rule answered what means nothing", &value, None)
            }
            Ok(Outcome::Threw(error)) => {
                self.failed("request denied: the rule threw", &error, Some(FAILED))
            }
            Ok(Outcome::Unknown(what)) => {
                self.failed("request denied: the rule lacks what it asked for", &what, Some(FAILED))
            }
            Err(damage) => {
                self.sandbox = None;
                self.failed("request denied: the rule failed", &damage.to_string(), Some(FAILED))
            }
        }
    }
}

/// What the jailed program reads; the error itself is none of its business.
const FAILED: &str = "JavaScript execution failed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_is_made_before_the_first_request_if_there_is_time() {
        struct Nobody;
        impl ProcessInspector for Nobody {
            fn executable(&self, _pid: u32) -> std::io::Result<Option<String>> {
                Ok(None)
            }
        }
        let source = Arc::new(RuleSource::new("--js", "true"));
        let mut engine = JsEngine::new(source, Arc::new(Nobody));
        assert!(engine.sandbox.is_none());
        engine.prepare();
        assert!(engine.sandbox.is_some());
    }
}
