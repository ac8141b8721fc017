//! How many connections are open: the limit on them, and which worker has the fewest.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::event::{EventfdFlags, eventfd};

/// Counts open connections by worker.
pub(super) struct Slots {
    limit: usize,
    open: AtomicUsize,
    by_worker: Vec<AtomicUsize>,
    freed: OwnedFd,
}

impl Slots {
    pub(super) fn new(workers: usize, limit: usize) -> io::Result<Self> {
        let freed = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let by_worker = (0..workers).map(|_| AtomicUsize::new(0)).collect();
        Ok(Self { limit, open: AtomicUsize::new(0), by_worker, freed })
    }

    /// Whether no further connection may be accepted now. [`Slots::freed`] tells when one may.
    pub(super) fn are_full(&self) -> bool {
        self.open.load(Ordering::Acquire) >= self.limit
    }

    /// Becomes readable when a slot was given back while all were taken.
    pub(super) fn freed(&self) -> BorrowedFd<'_> {
        self.freed.as_fd()
    }

    /// Takes note that [`Slots::freed`] was seen.
    pub(super) fn clear_freed(&self) {
        let mut count = [0; 8];
        // Nothing to read means that nothing has to be cleared.
        let _ = rustix::io::read(&self.freed, &mut count);
    }

    /// Takes a slot at the worker that has the fewest connections.
    pub(super) fn take(self: &Arc<Self>) -> Slot {
        let fewest = self
            .by_worker
            .iter()
            .enumerate()
            .min_by_key(|(_, open)| open.load(Ordering::Relaxed))
            .map_or(0, |(worker, _)| worker);
        self.open.fetch_add(1, Ordering::AcqRel);
        if let Some(open) = self.by_worker.get(fewest) {
            open.fetch_add(1, Ordering::Relaxed);
        }
        Slot { slots: Arc::clone(self), worker: fewest }
    }
}

/// One open connection; dropped, the slot is free again.
pub(super) struct Slot {
    slots: Arc<Slots>,
    worker: usize,
}

impl Slot {
    /// The worker that serves this connection.
    pub(super) fn worker(&self) -> usize {
        self.worker
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(open) = self.slots.by_worker.get(self.worker) {
            open.fetch_sub(1, Ordering::Relaxed);
        }
        if self.slots.open.fetch_sub(1, Ordering::AcqRel) == self.slots.limit {
            // A full counter is as readable as one more would make it.
            let _ = rustix::io::write(&self.slots.freed, &1_u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_freed(slots: &Slots) -> bool {
        rustix::io::read(slots.freed(), &mut [0; 8]).is_ok()
    }

    #[test]
    fn the_worker_with_the_fewest_connections_is_next() {
        let slots = Arc::new(Slots::new(2, 10).unwrap());
        let first = slots.take();
        let second = slots.take();
        assert_ne!(first.worker(), second.worker());
        let freed = second.worker();
        drop(second);
        assert_eq!(slots.take().worker(), freed);
    }

    #[test]
    fn only_a_full_house_waits_for_a_free_slot() {
        let slots = Arc::new(Slots::new(1, 3).unwrap());
        let first = slots.take();
        drop(slots.take());
        assert!(!slots.are_full() && !is_freed(&slots));
        let _others = [slots.take(), slots.take()];
        assert!(slots.are_full());
        drop(first);
        assert!(!slots.are_full() && is_freed(&slots));
    }
}
