//! The engine of one worker thread: judges, and starts afresh after damage.

use std::sync::Arc;

use super::{
    factory::Rule,
    sandbox::{Outcome, Sandbox},
};
use crate::{
    policy::{DecidedBy, Decision, Denial, DenyReason, RequestFacts, RuleEngine, RunFacts},
    rules::warnings::Warnings,
};

/// Judges requests by a rule in JavaScript.
pub(super) struct JsEngine {
    rule: Arc<Rule>,
    /// Which rule the sandbox holds.
    number: u64,
    run: RunFacts,
    /// `None` before the first request, and after damage until the next one.
    sandbox: Option<Sandbox>,
    warnings: Warnings,
}

impl JsEngine {
    /// An engine for the calling thread. Its world is made when the first request is about to
    /// come: a command that sends none doesn't wait for it.
    pub(super) fn new(rule: Arc<Rule>, run: RunFacts) -> Self {
        let number = rule.number();
        Self { rule, number, run, sandbox: None, warnings: Warnings::default() }
    }

    fn restore(&mut self) {
        match Sandbox::new(&self.rule.source(), self.run.clone()) {
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
    fn decided_by(&self) -> DecidedBy {
        DecidedBy::Engine("js")
    }

    fn prepare(&mut self) {
        let number = self.rule.number();
        if self.number != number {
            self.number = number;
            self.sandbox = None;
        }
        if self.sandbox.is_none() {
            self.restore();
        }
    }

    /// Whether the rule has the word `tcp`, without which it hardly says `{allow: {tcp: true}}`.
    fn may_open_tcp(&self) -> bool {
        self.rule.source().text().contains("tcp")
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
    use crate::rules::RuleSource;

    #[test]
    fn a_world_is_made_before_the_first_request_if_there_is_time() {
        let rule = Arc::new(Rule::new(RuleSource::new("--js", "true")));
        let mut engine = JsEngine::new(rule, RunFacts::default());
        assert!(engine.sandbox.is_none());
        engine.prepare();
        assert!(engine.sandbox.is_some());
    }
}
