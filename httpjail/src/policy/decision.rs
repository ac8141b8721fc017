//! The outcome of judging one request.

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
    /// No rule was given.
    NoRule,
    /// The rule threw, ran out of its budget, or answered with something that proves nothing.
    RuleFailed,
}

impl Denial {
    /// A refusal without a message.
    pub fn new(reason: DenyReason) -> Self {
        Self { reason, message: None }
    }
}
