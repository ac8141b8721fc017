//! What a watchdog on another thread can see of one thread's decisions, and do about them.
//!
//! A rule engine keeps its budget by looking at the clock every now and then. Where its code
//! doesn't (a built-in function at work on something huge), only another thread can tell.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::RequestFacts;

/// The decision that one thread is at, if any.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Deciding {
        since: Instant,
        facts: Arc<RequestFacts>,
    },
    GivenUp,
}

impl Pulse {
    /// Takes note that a decision begins. `false`: the thread was given up, and decides no more.
    #[must_use]
    pub(super) fn begin(&self, facts: &Arc<RequestFacts>) -> bool {
        let mut state = self.lock();
        if matches!(*state, State::GivenUp) {
            return false;
        }
        *state = State::Deciding { since: Instant::now(), facts: Arc::clone(facts) };
        true
    }

    /// Takes note that the decision is made. `false`: it came too late, and the request was
    /// denied meanwhile.
    #[must_use]
    pub(super) fn end(&self) -> bool {
        let mut state = self.lock();
        if matches!(*state, State::GivenUp) {
            return false;
        }
        *state = State::Idle;
        true
    }

    /// Gives the thread up if its decision has taken longer than `limit`. The caller must then
    /// deny what was asked, which is returned: no decision of the thread counts from now on.
    pub fn give_up_after(&self, limit: Duration) -> Option<Arc<RequestFacts>> {
        let mut state = self.lock();
        match &*state {
            State::Deciding { since, .. } if since.elapsed() > limit => {}
            State::Deciding { .. } | State::Idle | State::GivenUp => return None,
        }
        match mem::replace(&mut *state, State::GivenUp) {
            State::Deciding { facts, .. } => Some(facts),
            State::Idle | State::GivenUp => None,
        }
    }

    /// A panic elsewhere leaves the state as it was: it is replaced whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::Version;

    use super::*;
    use crate::policy::{Authority, Headers, Host, Scheme};

    fn facts() -> Arc<RequestFacts> {
        Arc::new(RequestFacts {
            method: "GET".to_owned(),
            scheme: Scheme::Https,
            authority: Authority::new(Host::parse("a.test").unwrap(), 443),
            path: "/".to_owned(),
            query: None,
            protocol: Some(Version::HTTP_11),
            headers: Headers::default(),
            requester: [127, 0, 0, 1].into(),
            process: None,
            time: UNIX_EPOCH,
        })
    }

    #[test]
    fn only_a_decision_under_way_is_given_up_and_only_once() {
        let pulse = Pulse::default();
        assert!(pulse.give_up_after(Duration::ZERO).is_none());
        assert!(pulse.begin(&facts()));
        assert!(pulse.give_up_after(Duration::from_secs(3600)).is_none());
        assert!(pulse.give_up_after(Duration::ZERO).is_some());
        assert!(pulse.give_up_after(Duration::ZERO).is_none());
    }

    #[test]
    fn nothing_that_a_given_up_thread_decides_counts() {
        let pulse = Pulse::default();
        assert!(pulse.begin(&facts()) && pulse.end());
        assert!(pulse.begin(&facts()));
        pulse.give_up_after(Duration::ZERO).unwrap();
        assert!(!pulse.end());
        assert!(!pulse.begin(&facts()));
        assert!(!pulse.end());
    }
}
