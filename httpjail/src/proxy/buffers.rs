//! Memory for bytes on their way, which a connection has only while it moves some.

use std::{
    cell::{Cell, RefCell},
    mem,
    ops::{Deref, DerefMut},
    rc::Rc,
    time::Duration,
};

use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};

/// Few system calls for a flood; more than this gains nothing.
const LARGE: usize = 256 * 1024;
/// For whoever comes when many have large ones, so that stalled connections can't fill the memory.
const SMALL: usize = 16 * 1024;
const MOST_LARGE: usize = 64;
/// How often it is looked whether all is sent: connections have their turns in between.
const LOOK: Duration = Duration::from_millis(1);
/// How many such looks in a row must find nothing.
const QUIET: u32 = 3;
/// How many large ones are kept for the next.
const MOST_SPARE: usize = 4;

/// The buffers of one worker.
#[derive(Default)]
pub(super) struct Buffers {
    spare: RefCell<Vec<Box<[u8]>>>,
    lent: Cell<usize>,
    unsent: Cell<usize>,
}

/// Something of the jail's that is on its way out; dropped, it is sent.
pub(super) struct Unsent(Rc<Buffers>);

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

    /// Takes note that something is on its way out.
    pub(super) fn unsent(self: &Rc<Self>) -> Unsent {
        self.unsent.set(self.unsent.get() + 1);
        Unsent(Rc::clone(self))
    }

    /// Waits until what has come from the jail is sent, for `patience` at most. A program that has
    /// said its last word and ended relies on that it arrives.
    pub(super) async fn all_sent(self: &Rc<Self>, patience: Duration) {
        let deadline = Instant::now() + patience;
        // What has just come has its first turn.
        yield_now().await;
        // Whoever carries something has a share in this.
        let mut quiet = 0;
        while Rc::strong_count(self) > 1 && quiet < QUIET && Instant::now() < deadline {
            sleep(LOOK).await;
            quiet = if self.unsent.get() == 0 { quiet + 1 } else { 0 };
        }
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

impl Drop for Unsent {
    fn drop(&mut self) {
        self.0.unsent.set(self.0.unsent.get() - 1);
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
    use tokio::runtime::Builder;

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

    #[test]
    fn the_end_waits_for_what_is_unsent_and_not_for_ever() {
        const PATIENCE: Duration = Duration::from_secs(1);
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let buffers = Rc::new(Buffers::default());
            let start = Instant::now();
            buffers.all_sent(PATIENCE).await;
            assert_eq!(start.elapsed(), Duration::ZERO, "nobody carries anything");
            let (unsent, _idle) = (buffers.unsent(), Rc::clone(&buffers));
            let sending = async {
                sleep(PATIENCE / 2).await;
                drop(unsent);
            };
            tokio::join!(buffers.all_sent(PATIENCE), sending);
            assert!((PATIENCE / 2..PATIENCE).contains(&start.elapsed()));
            let (_stuck, start) = (buffers.unsent(), Instant::now());
            buffers.all_sent(PATIENCE).await;
            assert!(start.elapsed() >= PATIENCE);
        });
    }
}
