//! What `--allow` and `--deny` say. A refusal wins over an allowance, and both over the rule.

use super::{
    DecidedBy, Decision, Denial, DenyReason, Limits, RequestFacts, RequestPattern,
    request_pattern::Asked,
};

/// The patterns of all `--allow` and `--deny`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Requests that may go out, whatever the rule says.
    pub allow: Vec<RequestPattern>,
    /// Requests that may not, whatever else allows them.
    pub deny: Vec<RequestPattern>,
}

/// The pattern that decides about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed<'a> {
    /// One of `--allow`.
    Allowed(&'a RequestPattern),
    /// One of `--deny`.
    Denied(&'a RequestPattern),
}

impl Lists {
    /// The pattern that decides about a request, if one does.
    pub fn find(&self, facts: &RequestFacts) -> Option<Listed<'_>> {
        let asked = Asked::new(facts);
        let denied = self.deny.iter().find(|pattern| pattern.may_have(&asked));
        let allowed = || self.allow.iter().find(|pattern| pattern.surely_has(&asked));
        denied.map(Listed::Denied).or_else(|| allowed().map(Listed::Allowed))
    }

    /// What the engine's decision comes to where no pattern decides: without a rule, the jailed
    /// program is told what would have allowed its request.
    #[must_use]
    pub fn or(&self, decision: Decision) -> Decision {
        match decision {
            Decision::Deny(Denial { reason: DenyReason::NoRule, message: None })
                if !(self.allow.is_empty() && self.deny.is_empty()) =>
            {
                let message = Some("no --allow is about this request".to_owned());
                Decision::Deny(Denial { reason: DenyReason::NoRule, message })
            }
            decision => decision,
        }
    }
}

impl Listed<'_> {
    /// What comes of it.
    pub fn decision(&self) -> Decision {
        match self {
            Self::Allowed(_) => Decision::Allow(Limits::default()),
            Self::Denied(pattern) => Decision::Deny(Denial {
                reason: DenyReason::Listed,
                message: Some(format!("denied by --deny '{pattern}'")),
            }),
        }
    }

    /// What records say of it.
    pub fn decided_by(&self) -> DecidedBy {
        let (option, pattern) = match self {
            Self::Allowed(pattern) => ("--allow", pattern),
            Self::Denied(pattern) => ("--deny", pattern),
        };
        DecidedBy::Option { option, pattern: pattern.text() }
    }
}
