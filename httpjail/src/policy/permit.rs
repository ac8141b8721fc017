//! Permission as a value.

use super::{Limits, RequestFacts};

/// A request that the gate let through. Only [`super::Gate`] makes one, and forwarding takes
/// nothing else, so an unjudged request can't be forwarded (P7).
#[derive(Debug)]
pub struct Permitted<T> {
    facts: RequestFacts,
    limits: Limits,
    request: T,
}

impl<T> Permitted<T> {
    pub(super) fn new(facts: RequestFacts, limits: Limits, request: T) -> Self {
        Self { facts, limits, request }
    }

    /// What was judged: the only source of the address to dial.
    pub fn facts(&self) -> &RequestFacts {
        &self.facts
    }

    /// The bounds that came with the permission.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The same permission for what it was given about.
    pub fn with<U>(self, request: U) -> Permitted<U> {
        Permitted { facts: self.facts, limits: self.limits, request }
    }

    /// Takes the permission apart.
    pub fn into_parts(self) -> (RequestFacts, Limits, T) {
        (self.facts, self.limits, self.request)
    }
}
