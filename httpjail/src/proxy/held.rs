//! Holds back the end of an answer over HTTP/2 until the request has come to its own.
//!
//! An origin may answer an upload before it has read it, and some clients get stuck when the answer
//! ends while they still send: curl 7.88 goes on to its upload's end and then waits for ever.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::timeout;

use super::http2::drain;
use crate::streams::{BodyError, Polled, Rest};

/// How long a request may make no progress before its answer ends all the same: its client may be
/// waiting for just that.
const STALL: Duration = Duration::from_millis(500);

/// An answer's body that ends after the request.
pub(super) struct Held<B> {
    /// Until it has ended.
    body: Option<B>,
    /// Trailers end a stream.
    trailers: Option<Frame<Bytes>>,
    request: Pin<Box<dyn Future<Output = ()>>>,
}

impl<B> Held<B> {
    /// `body`, or nothing, whose end waits for that of the request whose body's fate `rest` is.
    pub(super) fn new(body: Option<B>, rest: Rest) -> Self {
        Self { body, trailers: None, request: Box::pin(ended(rest)) }
    }
}

/// Waits for the end of a request's body, and reads what was given up of it.
async fn ended(rest: Rest) {
    let mut read = rest.progress();
    loop {
        match timeout(STALL, rest.left()).await {
            Ok(Some(stream)) => return drain(stream).await,
            Ok(None) => return,
            Err(_) if rest.progress() == read => return,
            Err(_) => read = rest.progress(),
        }
    }
}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin> Body for Held<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        while let Some(body) = &mut this.body {
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) if frame.is_trailers() => this.trailers = Some(frame),
                None => this.body = None,
                frame => return Poll::Ready(frame),
            }
        }
        ready!(this.request.as_mut().poll(cx));
        this.request = Box::pin(std::future::ready(()));
        Poll::Ready(this.trailers.take().map(Ok))
    }
}
