//! What is told seldom, however often it happens: a jailed program must not flood the terminal.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// Tells when it is time to tell something again.
#[derive(Debug)]
pub struct Seldom {
    pause: Duration,
    last: Cell<Option<Instant>>,
}

impl Seldom {
    /// At most once in a `pause`.
    pub fn every(pause: Duration) -> Self {
        Self { pause, last: Cell::default() }
    }

    /// Whether it is time `now`; if so, the next pause begins.
    pub fn is_due(&self, now: Instant) -> bool {
        let is_due = self.last.get().is_none_or(|last| now.duration_since(last) >= self.pause);
        if is_due {
            self.last.set(Some(now));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_due_once_in_a_pause() {
        let (seldom, start) = (Seldom::every(Duration::from_secs(1)), Instant::now());
        let due = [0, 10, 999, 1000, 1999, 2000]
            .map(|millis| seldom.is_due(start + Duration::from_millis(millis)));
        assert_eq!(due, [true, false, false, true, false, true]);
    }
}
