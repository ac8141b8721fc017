//! How long a connection may wait for a request.
//!
//! One tick for a whole worker costs nothing on a request's path, where a timer for each request
//! would be set and taken back some ten thousand times a second.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    task::spawn_local,
    time::interval,
};

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
    expired: Notify,
    /// How many requests of HTTP/2 are under way.
    streams: Cell<usize>,
    body: Cell<Body>,
    /// The last bytes that came.
    tail: Cell<[u8; 3]>,
}

/// The body of the last request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    /// There was none.
    None,
    /// Not all of it was read.
    Unread,
    /// All of it was read.
    Read,
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
            expired: Notify::new(),
            streams: Cell::new(0),
            body: Cell::new(Body::None),
            tail: Cell::default(),
        });
        self.watches.borrow_mut().push(Rc::downgrade(&watch));
        watch
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
    /// The client has sent something, or ended.
    fn heard(&self, bytes: &[u8]) {
        for byte in bytes.iter().skip(bytes.len().saturating_sub(3)) {
            let [_, first, second] = self.tail.get();
            self.tail.set([first, second, *byte]);
        }
        self.begin_head();
    }

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
        self.body.set(Body::None);
    }

    /// Behind the head a body comes.
    pub(super) fn expect_body(&self) {
        self.body.set(Body::Unread);
    }

    /// The body's end was read.
    pub(super) fn end_body(&self) {
        self.body.set(Body::Read);
    }

    /// Whether what comes may belong to the last request's body.
    pub(super) fn is_amid_body(&self) -> bool {
        self.body.get() == Body::Unread
    }

    /// The answer is out: the next request may come, or has come in part.
    pub(super) fn resume(&self) {
        let now = self.patience.now.get();
        let begun = self.body.get() == Body::None && !ends_a_head(self.tail.get());
        self.waiting.set(if begun { Waiting::Head(now) } else { Waiting::Idle(now) });
    }

    /// Ends when patience is exhausted.
    pub(super) async fn expired(&self) {
        self.expired.notified().await;
    }

    fn check(&self, now: Instant) {
        let expired = match self.waiting.get() {
            Waiting::Head(since) => now.duration_since(since) > self.patience.head,
            Waiting::Idle(since) => now.duration_since(since) > self.patience.idle,
            Waiting::Nothing => false,
        };
        if expired {
            self.expired.notify_one();
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

/// Whether these last bytes end a request head (RFC 9112, 2.1 and 2.2). Where a request has no body,
/// others are the beginning of the next head, which the parser has read with it and keeps to itself.
fn ends_a_head(tail: [u8; 3]) -> bool {
    matches!(tail, [b'\n', b'\r', b'\n'] | [_, b'\n', b'\n'])
}

/// A connection that tells its [`Watch`] when the client sends something.
pub(super) struct Watched<S> {
    stream: S,
    watch: Rc<Watch>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, watch: Rc<Watch>) -> Self {
        Self { stream, watch }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() {
            self.watch.heard(buf.filled().get(before..).unwrap_or_default());
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
