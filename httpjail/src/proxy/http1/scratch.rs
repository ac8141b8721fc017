//! Buffers for answers, which all connections of a worker use in turn: one that waits holds none.

use std::cell::RefCell;

/// How many are kept, and how large they may have grown.
const MOST_SPARE: usize = 4;
const LARGEST_SPARE: usize = 8 * 1024;

/// The buffers of one worker.
#[derive(Default)]
pub(in crate::proxy) struct Scratch(RefCell<Vec<Vec<u8>>>);

impl Scratch {
    /// An empty buffer.
    pub(in crate::proxy) fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives it back.
    pub(in crate::proxy) fn give(&self, mut buffer: Vec<u8>) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < MOST_SPARE && buffer.capacity() <= LARGEST_SPARE {
            buffer.clear();
            spare.push(buffer);
        }
    }
}
