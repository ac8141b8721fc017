//! The end of a worker whose requests may come to theirs.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::worker::Worker;

/// How often it is looked whether a connection is left.
const LOOK: Duration = Duration::from_millis(5);

/// Tells the connections of a worker that no more requests are taken.
#[derive(Default)]
pub(super) struct Closing {
    has_begun: Cell<bool>,
    begun: Notify,
}

impl Closing {
    /// Ends when the worker's end has begun.
    pub(super) async fn begun(&self) {
        if !self.has_begun.get() {
            self.begun.notified().await;
        }
    }

    fn begin(&self) {
        self.has_begun.set(true);
        self.begun.notify_waiters();
    }
}

/// Lets connections finish what is under way, for `patience` at most. Those that say nothing end at
/// once.
pub(super) async fn drain(worker: &Rc<Worker>, patience: Duration) {
    if patience.is_zero() {
        return;
    }
    let deadline = Instant::now() + patience;
    worker.closing.begin();
    // Each connection has a share in this.
    while Rc::strong_count(worker) > 1 && Instant::now() < deadline {
        sleep(LOOK).await;
    }
}
