//! The limit on how many connections are open.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::event::{EventfdFlags, eventfd};

/// Counts open connections.
pub(super) struct Slots {
    limit: usize,
    open: AtomicUsize,
    freed: OwnedFd,
}

impl Slots {
    pub(super) fn new(limit: usize) -> io::Result<Self> {
        let freed = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { limit, open: AtomicUsize::new(0), freed })
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

    /// Takes a slot.
    pub(super) fn take(self: &Arc<Self>) -> Slot {
        self.open.fetch_add(1, Ordering::AcqRel);
        Slot(Arc::clone(self))
    }
}

/// One open connection; dropped, the slot is free again.
pub(super) struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == self.0.limit {
            // A full counter is as readable as one more would make it.
            let _ = rustix::io::write(&self.0.freed, &1_u64.to_ne_bytes());
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
    fn only_a_full_house_waits_for_a_free_slot() {
        let slots = Arc::new(Slots::new(3).unwrap());
        let first = slots.take();
        drop(slots.take());
        assert!(!slots.are_full() && !is_freed(&slots));
        let _others = [slots.take(), slots.take()];
        assert!(slots.are_full());
        drop(first);
        assert!(!slots.are_full() && is_freed(&slots));
    }
}
