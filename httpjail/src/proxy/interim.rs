//! Interim answers (1xx) on their way from an origin to the jailed program.
//!
//! `100 Continue` is said when the body is read; the others go out as they come, as long as their
//! request has no answer.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use tokio::{sync::Notify, time::timeout};

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

    /// The answer has come.
    pub(super) fn answered(&self) {
        if self.is_body_waiting() {
            self.body.set(Body::Unwanted);
            self.line.hold();
        }
    }

    /// The next one that waits to go out.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Bytes> {
        self.line.poll_next(cx)
    }

    /// One that waits to go out.
    pub(super) fn take(&self) -> Option<Bytes> {
        self.line.take()
    }

    /// The answer has gone out, or has broken off: the body that waits for it is given up.
    pub(super) fn end(&self) {
        if self.is_body_waiting() {
            self.line.release();
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
        // A client that waits for it gets one when the body is read; another hasn't asked.
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
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(head) = waiting.heads.pop_front() {
            return Poll::Ready(head);
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
