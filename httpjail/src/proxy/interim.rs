//! Interim answers (1xx) on their way from an origin to the jailed program.
//!
//! hyper's server sends none but a `100 Continue` of its own, which it sends when a body is read.
//! The others are put between its writes: as long as a request has no answer, hyper has nothing to
//! write but that and the rest of the answer before, and when it flushes, all of it is written.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, StatusCode, Version};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::timeout,
};

use super::headers;
use crate::upstream::OnInterim;

/// How many may wait for the client, and how many bytes of them; more are dropped.
const MOST_WAITING: usize = 16;
const MOST_BYTES: usize = 64 * 1024;
/// How long a body waits for an origin that may know nothing of 100 (RFC 9110, 10.1.1).
const CONTINUE_WITHIN: Duration = Duration::from_secs(1);

/// Interim answers to the requests of one connection.
#[derive(Default)]
pub(super) struct Interim {
    line: Rc<Line>,
    outbox: Outbox,
    body: Rc<Cell<Body>>,
    /// Whether the client knows what an interim answer is.
    is_client_deaf: Cell<bool>,
}

/// Whether the client waits for `100 Continue` before it sends its body.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Body {
    #[default]
    Free,
    Waits,
    /// The answer has come before anybody asked for the body.
    Unwanted,
}

/// From whoever reads the origin's answer.
#[derive(Default)]
struct Line {
    released: Notify,
    waiting: RefCell<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Which request is being answered.
    request: u64,
    heads: VecDeque<Bytes>,
    /// Wakes the client's connection, whose task stays the same.
    waker: Option<Waker>,
    /// Whether the body needn't wait any longer, wanted or not.
    released: bool,
}

/// What goes out next to the client.
#[derive(Default)]
struct Outbox {
    head: RefCell<Bytes>,
    begun: Cell<bool>,
    out: Notify,
}

/// Ends when a body need not wait any longer, and tells whether it may be sent.
pub(super) type Go = Pin<Box<dyn Future<Output = bool>>>;

impl Interim {
    /// A request has come: by HTTP `version`, with a body that `expects` 100 or without.
    pub(super) fn begin(&self, version: Version, expects: bool) {
        // HTTP/1.0 knows neither (RFC 9110, 10.1.1 and 15.2).
        let knows = version == Version::HTTP_11;
        self.is_client_deaf.set(!knows);
        self.body.set(if knows && expects { Body::Waits } else { Body::Free });
    }

    /// Whether the client waits with its body, and nobody has asked for it.
    pub(super) fn is_body_waiting(&self) -> bool {
        self.body.get() != Body::Free
    }

    /// Listens for interim answers to the request that is about to be sent. Gives what its body
    /// waits for, if it does.
    pub(super) fn listen(&self) -> Option<Go> {
        let number = self.line.next_request();
        if !self.is_body_waiting() {
            return None;
        }
        let (line, body) = (Rc::clone(&self.line), Rc::clone(&self.body));
        Some(Box::pin(async move {
            // An origin that hasn't asked in time gets the body all the same.
            let _ = timeout(CONTINUE_WITHIN, line.released(number)).await;
            if body.get() == Body::Unwanted {
                // What this says ends the connection over which the answer may still be coming.
                line.released(number).await;
                return false;
            }
            body.set(Body::Free);
            true
        }))
    }

    /// Waits for `answer`, and passes on meanwhile what comes before it.
    pub(super) async fn pass_on_until<F: Future>(&self, answer: F) -> F::Output {
        let mut answer = pin!(answer);
        let answer = loop {
            let event = poll_fn(|cx| match answer.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => self.line.poll_heard(cx).map(|()| None),
            });
            match event.await {
                Some(answer) => break answer,
                None => self.pass_on().await,
            }
        };
        self.pass_on().await;
        if self.is_body_waiting() {
            self.body.set(Body::Unwanted);
            self.line.hold();
        }
        answer
    }

    /// The answer has gone out, or has broken off: the body that waits for it is given up.
    pub(super) fn end(&self) {
        if self.is_body_waiting() {
            self.line.release();
        }
    }

    async fn pass_on(&self) {
        while let Some(head) = self.line.take() {
            self.outbox.head.replace(head);
            self.outbox.out.notified().await;
        }
    }
}

impl OnInterim for Interim {
    fn tell(&self, status: StatusCode, headers: &HeaderMap) {
        if !self.is_client_deaf.get() {
            self.line.hear(status, headers);
        }
    }
}

impl Line {
    fn next_request(&self) -> u64 {
        let mut waiting = self.waiting.borrow_mut();
        waiting.heads.clear();
        waiting.released = false;
        waiting.request += 1;
        waiting.request
    }

    fn hear(&self, status: StatusCode, headers: &HeaderMap) {
        // A client that waits for it gets one from hyper; another hasn't asked.
        if status == StatusCode::CONTINUE {
            return self.release();
        }
        let head = write(status, headers.clone());
        let mut waiting = self.waiting.borrow_mut();
        let bytes: usize = waiting.heads.iter().map(Bytes::len).sum();
        if waiting.heads.len() < MOST_WAITING && bytes + head.len() <= MOST_BYTES {
            waiting.heads.push_back(head);
            if let Some(waker) = &waiting.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Ready when something waits.
    fn poll_heard(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.heads.is_empty() {
            return Poll::Ready(());
        }
        if !waiting.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            waiting.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Takes a release back.
    fn hold(&self) {
        self.waiting.borrow_mut().released = false;
    }

    fn release(&self) {
        self.waiting.borrow_mut().released = true;
        self.released.notify_one();
    }

    /// Waits until a request's body is released, or that request is over.
    async fn released(&self, request: u64) {
        let is_over = |waiting: &Waiting| waiting.released || waiting.request != request;
        while !is_over(&self.waiting.borrow()) {
            self.released.notified().await;
        }
    }

    fn take(&self) -> Option<Bytes> {
        self.waiting.borrow_mut().heads.pop_front()
    }
}

/// The head as it goes over the wire.
fn write(status: StatusCode, mut headers: HeaderMap) -> Bytes {
    headers::prepare_interim(&mut headers);
    let reason = status.canonical_reason().unwrap_or("Interim");
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

impl Outbox {
    /// Writes what is to go out.
    fn poll<S>(&self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        let mut head = self.head.borrow_mut();
        if head.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !head.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, &head))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.begun.set(true);
            head.advance(written);
        }
        *head = Bytes::new();
        self.begun.set(false);
        self.out.notify_one();
        Poll::Ready(Ok(()))
    }

    /// Writes the rest of what was begun.
    fn poll_rest<S>(&self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        if self.begun.get() { self.poll(cx, stream) } else { Poll::Ready(Ok(())) }
    }
}

/// A client's connection, with interim answers put between what is written.
pub(super) struct Interposed<S> {
    stream: S,
    interim: Rc<Interim>,
}

impl<S> Interposed<S> {
    pub(super) fn new(stream: S, interim: Rc<Interim>) -> Self {
        Self { stream, interim }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Interposed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Interposed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.interim.outbox.poll_rest(cx, &mut this.stream))?;
        Pin::new(&mut this.stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.interim.outbox.poll(cx, &mut this.stream))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.interim.outbox.poll_rest(cx, &mut this.stream))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.interim.outbox.poll_rest(cx, &mut this.stream))?;
        Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
