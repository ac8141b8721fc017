//! The outcome of judging one request.

use super::Scheme;

/// What the gate decided about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The request may leave, within these limits.
    Allow(Limits),
    /// The request stays, for this reason.
    Deny(Denial),
}

/// Bounds that an allowing rule put on a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes that may go upstream for this request: request line, headers and body.
    pub max_tx_bytes: Option<u64>,
    /// Whether it also covers what can't be read as requests.
    pub opaque: Opaque,
}

/// Whether an allowance covers a connection whose bytes nobody reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Opaque {
    /// It covers requests alone.
    #[default]
    Refused,
    /// It says in so many words that bytes may pass.
    Allowed,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The cause, for records and logs.
    pub reason: DenyReason,
    /// Text for the jailed program, from the rule or from httpjail itself. It never tells
    /// anything about the host.
    pub message: Option<String>,
}

/// The cause of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// The rule said no.
    Rule,
    /// `--deny` is about the request.
    Listed,
    /// No rule was given.
    NoRule,
    /// The rule threw, ran out of its budget, or answered with something that proves nothing.
    RuleFailed,
    /// The rule allowed a connection as if it were a request.
    NotForTcp,
}

impl Decision {
    /// What it comes to for something of `scheme`: an allowance of requests doesn't open a
    /// connection whose bytes nobody reads.
    #[must_use]
    pub fn held_to(self, scheme: Scheme) -> Self {
        match (scheme, &self) {
            (Scheme::Tcp, Self::Allow(limits)) if limits.opaque == Opaque::Refused => {
                Self::Deny(Denial::new(DenyReason::NotForTcp))
            }
            (Scheme::Http | Scheme::Https | Scheme::Tls | Scheme::Tcp, _) => self,
        }
    }
}

impl Denial {
    /// A refusal without a message.
    pub fn new(reason: DenyReason) -> Self {
        Self { reason, message: None }
    }
}
