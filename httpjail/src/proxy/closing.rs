//! The end of a worker whose requests may come to theirs.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::worker::Worker;

/// How long a connection that says nothing is waited for then: what its client has sent may be under
/// way.
const SILENCE: Duration = Duration::from_secs(1);
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

    /// Whether it has.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.get()
    }

    /// Ends when who has said nothing until then needn't be waited for any more.
    pub(super) async fn silence(&self) {
        self.begun().await;
        sleep(SILENCE).await;
    }

    fn begin(&self) {
        self.has_begun.set(true);
        self.begun.notify_waiters();
    }
}

/// Lets connections finish what is under way, for `patience` at most. Those that have had their last
/// answer end at once.
pub(super) async fn drain(worker: &Rc<Worker>, patience: Duration) {
    if patience.is_zero() {
        return;
    }
    let deadline = Instant::now() + patience;
    worker.closing.begin();
    worker.patience.wake_all();
    // Each connection has a share in this.
    while Rc::strong_count(worker) > 1 && Instant::now() < deadline {
        sleep(LOOK).await;
    }
}
