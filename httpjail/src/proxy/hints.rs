//! Interim answers (1xx) on their way to a stream of HTTP/2.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use http::{HeaderMap, Response, StatusCode};

use super::headers;
use crate::upstream::OnInterim;

/// How many may wait for the stream; more are dropped.
const MOST_WAITING: usize = 16;

/// The interim answers to one request.
#[derive(Clone, Default)]
pub(super) struct Hints(Rc<RefCell<Waiting>>);

#[derive(Default)]
struct Waiting {
    heads: VecDeque<Response<()>>,
    waker: Option<Waker>,
}

impl Hints {
    /// The next one; waits for it for ever.
    pub(super) async fn next(&self) -> Response<()> {
        poll_fn(|cx| {
            let mut waiting = self.0.borrow_mut();
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
        self.0.borrow_mut().heads.pop_front()
    }
}

impl OnInterim for Hints {
    fn tell(&self, status: StatusCode, headers: &HeaderMap) {
        // Whoever waits for it is told to go on by the proxy itself.
        if status == StatusCode::CONTINUE {
            return;
        }
        let mut waiting = self.0.borrow_mut();
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
}
