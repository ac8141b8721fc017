//! Memory for bytes on their way, which a connection has only while it moves some.

use std::{
    cell::{Cell, RefCell},
    mem,
    ops::{Deref, DerefMut},
    rc::Rc,
};

/// Few system calls for a flood; more than this gains nothing.
const LARGE: usize = 256 * 1024;
/// For whoever comes when many have large ones, so that stalled connections can't fill the memory.
const SMALL: usize = 16 * 1024;
const MOST_LARGE: usize = 64;
/// How many large ones are kept for the next.
const MOST_SPARE: usize = 4;

/// The buffers of one worker.
#[derive(Default)]
pub(super) struct Buffers {
    spare: RefCell<Vec<Box<[u8]>>>,
    lent: Cell<usize>,
}

/// A buffer, which goes back where it came from.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    home: Rc<Buffers>,
}

impl Buffers {
    /// A buffer with anything in it.
    pub(super) fn lend(self: &Rc<Self>) -> Buffer {
        let bytes = if self.lent.get() < MOST_LARGE {
            let spare = self.spare.borrow_mut().pop();
            spare.unwrap_or_else(|| vec![0; LARGE].into_boxed_slice())
        } else {
            vec![0; SMALL].into_boxed_slice()
        };
        self.lent.set(self.lent.get() + 1);
        Buffer { bytes, home: Rc::clone(self) }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.lent.set(self.home.lent.get() - 1);
        let bytes = mem::take(&mut self.bytes);
        let mut spare = self.home.spare.borrow_mut();
        if bytes.len() == LARGE && spare.len() < MOST_SPARE {
            spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_are_small_and_few_are_kept() {
        let buffers = Rc::new(Buffers::default());
        let lent: Vec<_> = (0..MOST_LARGE + 1).map(|_| buffers.lend()).collect();
        assert_eq!((lent[0].len(), lent[MOST_LARGE].len()), (LARGE, SMALL));
        drop(lent);
        assert_eq!((buffers.lent.get(), buffers.spare.borrow().len()), (0, MOST_SPARE));
        assert_eq!(buffers.lend().len(), LARGE);
    }
}
