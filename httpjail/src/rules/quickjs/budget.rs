//! How long one decision may take.
//!
//! What counts is the time that the thread worked: on a busy machine the clock on the wall runs
//! while nobody does, and a rule isn't to blame for that. The wall clock still bounds it all.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

/// The clock of one engine, shared with the engine's interrupt handler.
#[derive(Clone, Debug)]
pub(super) struct Budget(Rc<Cell<Start>>);

#[derive(Clone, Copy, Debug)]
struct Start {
    wall: Instant,
    /// The thread's own clock when the engine first asked: most decisions end before that, and
    /// reading this clock is a system call.
    work: Option<Duration>,
}

impl Budget {
    /// The time that the thread may work on one decision.
    pub(super) const WORK: Duration = Duration::from_millis(100);
    /// The time that one decision may take in all.
    pub(super) const WALL: Duration = Duration::from_secs(1);

    /// A budget that runs from now.
    pub(super) fn new() -> Self {
        Self(Rc::new(Cell::new(Start::now())))
    }

    /// Begins anew: what follows has the whole time.
    pub(super) fn renew(&self) {
        self.0.set(Start::now());
    }

    /// Whether the time is over. Asked by the engine about every 10,000 operations.
    pub(super) fn is_spent(&self) -> bool {
        let start = self.0.get();
        let wall = start.wall.elapsed();
        match start.work {
            _ if wall >= Self::WALL => true,
            Some(work) if wall >= Self::WORK => thread_time().saturating_sub(work) >= Self::WORK,
            Some(_) => false,
            None => {
                self.0.set(Start { work: Some(thread_time()), ..start });
                false
            }
        }
    }
}

impl Start {
    fn now() -> Self {
        Self { wall: Instant::now(), work: None }
    }
}

/// How long this thread has worked.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_spends_it_and_renewing_gives_it_back() {
        let budget = Budget::new();
        let start = Instant::now();
        while !budget.is_spent() {
            assert!(start.elapsed() < Duration::from_secs(5), "never spent");
        }
        assert!(start.elapsed() >= Budget::WORK);
        budget.renew();
        assert!(!budget.is_spent());
    }

    #[test]
    fn the_wall_clock_bounds_a_thread_that_does_not_work() {
        let budget = Budget::new();
        let wall = Instant::now().checked_sub(Budget::WALL).expect("an earlier time");
        budget.0.set(Start { wall, work: None });
        assert!(budget.is_spent());
    }
}
