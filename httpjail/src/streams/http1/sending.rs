//! Sends a request that has a body, while somebody else waits for its answer.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderName;
use http_body::Body;
use tokio::{
    io::AsyncWrite,
    task::{JoinHandle, spawn_local},
    time::timeout,
};

use super::{Length, Unsent, Writing};
use crate::streams::BodyError;

/// A request on its way out. Dropped, it stays where it is.
pub(crate) struct Sending {
    task: JoinHandle<()>,
    progress: Rc<RefCell<Progress>>,
    /// The number of the write for which room is awaited.
    blocked_at: Rc<Cell<Option<u64>>>,
}

#[derive(Default)]
struct Progress {
    state: State,
    waker: Option<Waker>,
}

#[derive(Default)]
enum State {
    #[default]
    Underway,
    /// All of it is out.
    Over,
    /// The connection takes no more of it. The origin may have said why before it closed.
    Refused,
    /// The body broke off.
    Broken(BodyError),
}

impl Sending {
    /// Sends `head` and the `body` behind it; `trailers` may follow a body in chunks.
    pub(crate) fn start<W, B>(
        writer: W,
        head: Vec<u8>,
        body: B,
        length: Length,
        trailers: Vec<HeaderName>,
    ) -> Self
    where
        W: AsyncWrite + Unpin + 'static,
        B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
    {
        let progress = Rc::<RefCell<Progress>>::default();
        let told = Rc::clone(&progress);
        let blocked = Rc::<Cell<Option<u64>>>::default();
        let blocked_at = Rc::clone(&blocked);
        let task = spawn_local(async move {
            let writing = Writing::new(writer, head, length).with_trailers(trailers);
            let outcome = writing.observed_by(blocked_at).send(body).await;
            let mut progress = told.borrow_mut();
            progress.state = match outcome {
                Ok(()) => State::Over,
                Err(Unsent::Write) => State::Refused,
                Err(Unsent::Body(error)) => State::Broken(error),
            };
            if let Some(waker) = progress.waker.take() {
                waker.wake();
            }
        });
        Self { task, progress, blocked_at: blocked }
    }

    /// Whether all of it is out.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.progress.borrow().state, State::Over)
    }

    /// Waits until nothing of it goes out any more, or until the origin has taken nothing of it for
    /// as long as `patience`.
    pub(crate) async fn ended(&self, patience: Duration) {
        let mut written = None;
        while timeout(patience, poll_fn(|cx| self.poll_ended(cx))).await.is_err() {
            let before = std::mem::replace(&mut written, self.blocked_at.get());
            if written.is_some() && written == before {
                return;
            }
        }
    }

    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut progress = self.progress.borrow_mut();
        if matches!(progress.state, State::Underway) { progress.wait(cx) } else { Poll::Ready(()) }
    }

    /// Ready when the body has broken off, so that no answer is worth waiting for.
    pub(crate) fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let mut progress = self.progress.borrow_mut();
        if matches!(progress.state, State::Broken(_))
            && let State::Broken(error) = std::mem::replace(&mut progress.state, State::Refused)
        {
            return Poll::Ready(error);
        }
        if matches!(progress.state, State::Underway) { progress.wait(cx) } else { Poll::Pending }
    }
}

impl Progress {
    /// Wakes the task when something has changed.
    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.task.abort();
    }
}
