//! What comes over one stream of HTTP/2.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, ready},
};

use h2::RecvStream;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;

use super::Polled;

/// A body that comes over a stream. The window is opened again by as much as was taken out, so
/// that no more than a window waits here.
#[derive(Debug)]
pub(crate) struct Received {
    /// Until this is dropped.
    stream: Option<RecvStream>,
    /// What is still to come of a body of known length.
    left: Option<u64>,
    data_is_over: bool,
    rest: Option<Rest>,
}

/// What becomes of a body, and where its stream goes if nobody reads it to its end. Dropped with all
/// else that holds the stream, it would be reset at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rest(Rc<Fate>);

#[derive(Debug, Default)]
struct Fate {
    /// How many pieces of it were read.
    progress: Cell<u64>,
    /// Nobody reads it any more.
    is_over: Cell<bool>,
    over: Notify,
    stream: RefCell<Option<RecvStream>>,
}

impl Received {
    /// The body that comes over `stream` behind `headers`, whose length the library has checked
    /// and holds the stream to.
    pub(crate) fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        let left = if stream.is_end_stream() {
            Some(0)
        } else {
            let length = headers.get(header::CONTENT_LENGTH);
            length.and_then(|length| length.to_str().ok()?.parse().ok())
        };
        Self { stream: Some(stream), left, data_is_over: false, rest: None }
    }

    /// A body that there isn't.
    pub(super) fn nothing() -> Self {
        Self { stream: None, left: Some(0), data_is_over: true, rest: None }
    }

    /// Tells where the stream is found when the body was given up.
    pub(crate) fn keep_rest(&mut self) -> Rest {
        self.rest.get_or_insert_default().clone()
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        if !self.data_is_over {
            if let Some(data) = ready!(stream.poll_data(cx)) {
                let data = data?;
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                stream.flow_control().release_capacity(data.len())?;
                if let Some(rest) = &self.rest {
                    rest.0.progress.set(rest.progress() + 1);
                }
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.data_is_over = true;
        }
        let trailers = ready!(stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Some(Rest(fate)) = &self.rest {
            if !self.is_end_stream() {
                fate.stream.replace(self.stream.take());
            }
            fate.is_over.set(true);
            fate.over.notify_one();
        }
    }
}

impl Rest {
    /// The stream of a body that was given up.
    pub(crate) fn take(&self) -> Option<RecvStream> {
        self.0.stream.take()
    }

    /// Whether the body hasn't come to its end.
    pub(crate) fn is_open(&self) -> bool {
        !self.0.is_over.get() || self.0.stream.borrow().is_some()
    }

    /// Waits until nobody reads the body any more. The stream, if it was given up.
    pub(crate) async fn left(&self) -> Option<RecvStream> {
        while !self.0.is_over.get() {
            self.0.over.notified().await;
        }
        self.take()
    }

    /// How many pieces of it were read.
    pub(crate) fn progress(&self) -> u64 {
        self.0.progress.get()
    }
}
