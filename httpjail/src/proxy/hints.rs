//! Interim answers (1xx) on their way to a stream of HTTP/2.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use http::{HeaderMap, Request, Response, StatusCode};

use super::headers;
use crate::upstream::on_interim;

/// How many may wait for the stream; more are dropped.
const MOST_WAITING: usize = 16;

/// The interim answers to one request. The origin's connection asks for what could be sent to
/// another thread.
#[derive(Clone, Default)]
pub(super) struct Hints(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    heads: VecDeque<Response<()>>,
    waker: Option<Waker>,
}

impl Hints {
    /// Listens for interim answers to `request`, which is about to be sent.
    pub(super) fn listen<B>(&self, request: &mut Request<B>) {
        let hints = self.clone();
        on_interim(request, move |status, headers| hints.hear(status, headers));
    }

    /// The next one; waits for it for ever.
    pub(super) async fn next(&self) -> Response<()> {
        poll_fn(|cx| {
            let mut waiting = self.lock();
            if let Some(head) = waiting.heads.pop_front() {
                return Poll::Ready(head);
            }
            waiting.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// One that waits.
    pub(super) fn take(&self) -> Option<Response<()>> {
        self.lock().heads.pop_front()
    }

    fn hear(&self, status: StatusCode, headers: &HeaderMap) {
        // Whoever waits for it is told to go on by the proxy itself.
        if status == StatusCode::CONTINUE {
            return;
        }
        let mut waiting = self.lock();
        if waiting.heads.len() < MOST_WAITING {
            let mut head = Response::new(());
            *head.status_mut() = status;
            *head.headers_mut() = headers.clone();
            headers::prepare_interim(head.headers_mut());
            waiting.heads.push_back(head);
            if let Some(waker) = waiting.waker.take() {
                waker.wake();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
