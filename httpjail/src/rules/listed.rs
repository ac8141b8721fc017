//! `--allow` and `--deny` before the rule, which is asked only where no pattern decides.

use std::{future::ready, sync::Arc};

use crate::policy::{
    Awaited, DecidedBy, Decision, EngineFactory, Engines, Listed, Lists, RemoteEngine,
    RequestFacts, RuleEngine,
};

/// Engines that look at `lists` before they ask one of `rules`.
pub fn listed(lists: Lists, rules: Engines) -> Engines {
    if lists == Lists::default() {
        return rules;
    }
    let lists = Arc::new(lists);
    match rules {
        Engines::Local(rules) => Engines::Local(Arc::new(ListedFactory { lists, rules })),
        Engines::Remote(rule) => Engines::Remote(Arc::new(ListedRemote { lists, rule })),
    }
}

struct ListedFactory {
    lists: Arc<Lists>,
    rules: Arc<dyn EngineFactory>,
}

struct ListedEngine {
    lists: Arc<Lists>,
    rule: Box<dyn RuleEngine>,
    /// The pattern that made the last decision, if one did.
    listed: Option<DecidedBy>,
}

impl EngineFactory for ListedFactory {
    fn engine(&self) -> Box<dyn RuleEngine> {
        Box::new(ListedEngine {
            lists: Arc::clone(&self.lists),
            rule: self.rules.engine(),
            listed: None,
        })
    }
}

impl RuleEngine for ListedEngine {
    fn decide(&mut self, facts: &RequestFacts) -> Decision {
        let listed = self.lists.find(facts);
        self.listed = listed.as_ref().map(Listed::decided_by);
        match listed {
            Some(listed) => listed.decision(),
            None => self.lists.or(self.rule.decide(facts)),
        }
    }

    fn decided_by(&self) -> DecidedBy {
        self.listed.clone().unwrap_or_else(|| self.rule.decided_by())
    }

    fn prepare(&mut self) {
        self.rule.prepare();
    }

    fn may_open_tcp(&self) -> bool {
        self.rule.may_open_tcp()
    }
}

struct ListedRemote {
    lists: Arc<Lists>,
    rule: Arc<dyn RemoteEngine>,
}

impl RemoteEngine for ListedRemote {
    fn ask(&self, facts: &Arc<RequestFacts>) -> Awaited {
        if let Some(decision) = self.lists.find(facts).as_ref().map(Listed::decision) {
            return Box::pin(ready(decision));
        }
        let (lists, answer) = (Arc::clone(&self.lists), self.rule.ask(facts));
        Box::pin(async move { lists.or(answer.await) })
    }

    fn decided_by(&self, facts: &RequestFacts) -> DecidedBy {
        let listed = self.lists.find(facts).as_ref().map(Listed::decided_by);
        listed.unwrap_or_else(|| self.rule.decided_by(facts))
    }

    fn may_open_tcp(&self) -> bool {
        self.rule.may_open_tcp()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::Version;

    use super::*;
    use crate::{
        policy::{
            Authority, Denial, DenyReason, Headers, Host, Limits, NoRule, RequestPattern, RunFacts,
            Scheme,
        },
        rules::{RuleSource, Rules},
    };

    fn facts(scheme: Scheme, host: &str) -> RequestFacts {
        RequestFacts {
            method: "GET".to_owned(),
            scheme,
            authority: Authority::new(Host::parse(host).expect("a host"), 443),
            path: "/".to_owned(),
            query: None,
            protocol: Some(Version::HTTP_11),
            headers: Headers::default(),
            requester: [127, 0, 0, 1].into(),
            process: None,
            time: UNIX_EPOCH,
        }
    }

    fn engine_of(engines: &Engines) -> Box<dyn RuleEngine> {
        let Engines::Local(engines) = engines else { panic!("they decide at once") };
        engines.engine()
    }

    fn lists(allow: &[&str], deny: &[&str]) -> Lists {
        let all = |texts: &[&str]| -> Vec<RequestPattern> {
            texts.iter().map(|text| text.parse().expect("a pattern")).collect()
        };
        Lists { allow: all(allow), deny: all(deny) }
    }

    const ALLOWED: Decision =
        Decision::Allow(Limits { max_tx_bytes: None, opaque: crate::policy::Opaque::Refused });

    fn denied(reason: DenyReason, message: &str) -> Decision {
        Decision::Deny(Denial { reason, message: Some(message.to_owned()) })
    }

    fn by(option: &'static str, pattern: &str) -> DecidedBy {
        DecidedBy::Option { option, pattern: pattern.into() }
    }

    #[test]
    fn a_refusal_wins_over_an_allowance_and_both_over_the_rule() {
        let rule = "r.host === 'rule.test' || r.host === 'deny.test' || 'the rule says no'";
        let rules = Rules::compile(&RuleSource::new("--js", rule)).expect("it compiles");
        let lists = lists(&["allow.test", "both.test"], &["both.test", "GET deny.test"]);
        let engines =
            listed(lists, rules.into_engines(RunFacts::default()).expect("no thread is needed"));
        let mut engine = engine_of(&engines);
        for (host, decision) in [
            ("allow.test", ALLOWED),
            ("both.test", denied(DenyReason::Listed, "denied by --deny 'both.test'")),
            ("deny.test", denied(DenyReason::Listed, "denied by --deny 'GET deny.test'")),
            ("rule.test", ALLOWED),
            ("other.test", denied(DenyReason::Rule, "the rule says no")),
        ] {
            assert_eq!(engine.decide(&facts(Scheme::Https, host)), decision, "{host}");
        }
        for (host, decided_by) in [
            ("allow.test", by("--allow", "allow.test")),
            ("both.test", by("--deny", "both.test")),
            ("deny.test", by("--deny", "GET deny.test")),
            ("rule.test", DecidedBy::Engine("js")),
        ] {
            let _ = engine.decide(&facts(Scheme::Https, host));
            assert_eq!(engine.decided_by(), decided_by, "{host}");
        }
        assert_eq!(engine.decide(&facts(Scheme::Tls, "rule.test")), ALLOWED);
        let no = denied(DenyReason::Rule, "the rule says no");
        assert_eq!(engine.decide(&facts(Scheme::Tls, "allow.test")), no);
    }

    #[test]
    fn without_a_rule_what_is_not_listed_is_denied() {
        let no_rule = || Engines::Local(Arc::new(NoRule));
        let mut engine = engine_of(&listed(lists(&["a.test"], &[]), no_rule()));
        assert_eq!(engine.decide(&facts(Scheme::Https, "a.test")), ALLOWED);
        let denied = denied(DenyReason::NoRule, "no --allow is about this request");
        assert_eq!(engine.decide(&facts(Scheme::Https, "b.test")), denied);
        let mut engine = engine_of(&listed(Lists::default(), no_rule()));
        let denied = Decision::Deny(Denial::new(DenyReason::NoRule));
        assert_eq!(engine.decide(&facts(Scheme::Https, "b.test")), denied);
    }
}
