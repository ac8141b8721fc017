//! The limit on how many connections are open.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::bell::Bell;

/// Counts open connections.
pub(super) struct Slots {
    limit: usize,
    open: AtomicUsize,
    freed: Bell,
}

impl Slots {
    pub(super) fn new(limit: usize) -> io::Result<Self> {
        Ok(Self { limit, open: AtomicUsize::new(0), freed: Bell::new()? })
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
        self.freed.clear();
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
            self.0.freed.ring();
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
