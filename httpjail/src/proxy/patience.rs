//! How long a connection may wait for a request.
//!
//! One tick for a whole worker costs nothing on a request's path, where a timer for each request
//! would be set and taken back some ten thousand times a second.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::{task::spawn_local, time::interval};

use super::Timeouts;

const LONGEST_TICK: Duration = Duration::from_secs(1);

/// Watches over the connections of one worker.
pub(super) struct Patience {
    head: Duration,
    idle: Duration,
    now: Cell<Instant>,
    watches: RefCell<Vec<Weak<Watch>>>,
}

/// What one connection waits for.
pub(super) struct Watch {
    patience: Rc<Patience>,
    waiting: Cell<Waiting>,
    is_expired: Cell<bool>,
    /// Of the connection's task.
    waker: RefCell<Option<Waker>>,
    /// How many requests of HTTP/2 are under way.
    streams: Cell<usize>,
}

#[derive(Clone, Copy)]
enum Waiting {
    /// For the rest of a request head.
    Head(Instant),
    /// For the next request.
    Idle(Instant),
    /// Not for the client.
    Nothing,
}

impl Patience {
    /// Starts to watch, on the current runtime.
    pub(super) fn start(timeouts: &Timeouts) -> Rc<Self> {
        let patience = Rc::new(Self {
            head: timeouts.head,
            idle: timeouts.idle,
            now: Cell::new(Instant::now()),
            watches: RefCell::default(),
        });
        let tick =
            (timeouts.head.min(timeouts.idle) / 4).clamp(Duration::from_millis(1), LONGEST_TICK);
        spawn_local(Rc::clone(&patience).keep_watching(tick));
        patience
    }

    /// Watches over a connection whose first bytes have come.
    pub(super) fn watch(self: &Rc<Self>) -> Rc<Watch> {
        let waiting = Cell::new(Waiting::Head(self.now.get()));
        let watch = Rc::new(Watch {
            patience: Rc::clone(self),
            waiting,
            is_expired: Cell::default(),
            waker: RefCell::default(),
            streams: Cell::new(0),
        });
        self.watches.borrow_mut().push(Rc::downgrade(&watch));
        watch
    }

    /// Wakes all connections, for something else than time has changed.
    pub(super) fn wake_all(&self) {
        self.watches.borrow().iter().filter_map(Weak::upgrade).for_each(|watch| watch.wake());
    }

    async fn keep_watching(self: Rc<Self>, tick: Duration) {
        let mut ticks = interval(tick);
        loop {
            let now = ticks.tick().await.into_std();
            self.now.set(now);
            self.watches.borrow_mut().retain(|watch| match watch.upgrade() {
                Some(watch) => {
                    watch.check(now);
                    true
                }
                None => false,
            });
        }
    }
}

impl Watch {
    /// Some of a request's head has come.
    pub(super) fn begin_head(&self) {
        if let Waiting::Idle(_) = self.waiting.get() {
            self.waiting.set(Waiting::Head(self.patience.now.get()));
        }
    }

    /// A whole request head has come on a stream, one of several perhaps. What follows takes its
    /// time, until what is given back is dropped.
    pub(super) fn open_stream(self: &Rc<Self>) -> Busy {
        self.waiting.set(Waiting::Nothing);
        self.streams.set(self.streams.get() + 1);
        Busy(Rc::clone(self))
    }

    /// Nothing is under way, and nothing has come of the next request.
    pub(super) fn await_request(&self) {
        self.waiting.set(Waiting::Idle(self.patience.now.get()));
    }

    /// A whole request head has come: what follows takes its time.
    pub(super) fn suspend(&self) {
        self.waiting.set(Waiting::Nothing);
        self.is_expired.set(false);
    }

    /// Some of a body has come. Where the answer is out already, the wait for the rest begins anew.
    pub(super) fn go_on(&self) {
        if let Waiting::Idle(_) = self.waiting.get() {
            self.await_request();
        }
    }

    /// Ends when patience is exhausted.
    pub(super) async fn expired(&self) {
        poll_fn(|cx| self.poll_expired(cx)).await;
    }

    /// Ready when patience is exhausted, once. Also wakes the task when the worker comes to its end.
    pub(super) fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_expired.replace(false) {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn check(&self, now: Instant) {
        let expired = match self.waiting.get() {
            Waiting::Head(since) => now.duration_since(since) > self.patience.head,
            Waiting::Idle(since) => now.duration_since(since) > self.patience.idle,
            Waiting::Nothing => false,
        };
        if expired {
            self.is_expired.set(true);
            self.wake();
        }
    }
}

/// A stream whose request is under way. When the last one ends, the client's turn has come.
pub(super) struct Busy(Rc<Watch>);

impl Drop for Busy {
    fn drop(&mut self) {
        let left = self.0.streams.get() - 1;
        self.0.streams.set(left);
        if left == 0 {
            self.0.await_request();
        }
    }
}
