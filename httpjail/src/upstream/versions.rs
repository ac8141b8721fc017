//! What origins have said of the versions of HTTP that they speak, for handshakes with clients.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use lru::LruCache;

use super::Origin;

const CAPACITY: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");
/// How long an origin's word counts: what it speaks may change.
pub(super) const FRESH: Duration = Duration::from_secs(10 * 60);

/// The origins that speak HTTP/1 alone, as they said of late to any worker.
///
/// Workers share it under a lock, which no request takes: a connection to an origin is opened, or
/// one from a client accepted, when it is asked.
#[derive(Debug)]
pub(super) struct Versions {
    http1_alone: Mutex<LruCache<Origin, Instant>>,
}

impl Versions {
    pub(super) fn new() -> Self {
        Self { http1_alone: Mutex::new(LruCache::new(CAPACITY)) }
    }

    /// `origin` was offered HTTP/2, and has chosen HTTP/1.
    pub(super) fn has_declined(&self, origin: &Origin, now: Instant) {
        let mut known = self.http1_alone.lock().unwrap_or_else(PoisonError::into_inner);
        known.put(origin.clone(), now);
    }

    /// Whether `origin` is known to speak HTTP/1 alone.
    pub(super) fn declines(&self, origin: &Origin, now: Instant) -> bool {
        let mut known = self.http1_alone.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(origin).is_some_and(|since| now.duration_since(*since) < FRESH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Authority, Host, Scheme};

    fn origin(port: u16) -> Origin {
        let authority = Authority::new(Host::parse("a.test").unwrap(), port);
        Origin { scheme: Scheme::Https, authority }
    }

    #[test]
    fn an_origins_word_counts_for_its_port_and_for_a_while() {
        let versions = Versions::new();
        let now = Instant::now();
        assert!(!versions.declines(&origin(443), now));
        versions.has_declined(&origin(443), now);
        assert!(versions.declines(&origin(443), now));
        assert!(!versions.declines(&origin(8443), now));
        assert!(!versions.declines(&origin(443), now + FRESH));
    }

    #[test]
    fn no_more_than_so_many_are_known() {
        let versions = Versions::new();
        let now = Instant::now();
        for port in 0..=u16::try_from(CAPACITY.get()).unwrap() {
            versions.has_declined(&origin(port), now);
        }
        assert!(!versions.declines(&origin(0), now));
        assert!(versions.declines(&origin(1), now));
    }
}
