//! How long one decision may take.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

/// The clock of one engine, shared with the engine's interrupt handler.
#[derive(Clone, Debug)]
pub(super) struct Budget(Rc<Cell<Instant>>);

impl Budget {
    /// The time that one decision may take.
    pub(super) const PER_DECISION: Duration = Duration::from_millis(100);

    /// A budget that runs from now.
    pub(super) fn new() -> Self {
        Self(Rc::new(Cell::new(Instant::now() + Self::PER_DECISION)))
    }

    /// Begins anew: what follows has the whole time.
    pub(super) fn renew(&self) {
        self.0.set(Instant::now() + Self::PER_DECISION);
    }

    /// Whether the time is over.
    pub(super) fn is_spent(&self) -> bool {
        Instant::now() >= self.0.get()
    }
}
