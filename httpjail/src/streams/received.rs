//! What comes over one stream of HTTP/2.

use std::task::{Context, Poll, ready};

use h2::RecvStream;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};

use super::Polled;

/// A body that comes over a stream. The window is opened again by as much as was taken out, so
/// that no more than a window waits here.
#[derive(Debug)]
pub(crate) struct Received {
    stream: RecvStream,
    /// What is still to come of a body of known length.
    left: Option<u64>,
    data_is_over: bool,
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
        Self { stream, left, data_is_over: false }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        if !self.data_is_over {
            if let Some(data) = ready!(self.stream.poll_data(cx)) {
                let data = data?;
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                self.stream.flow_control().release_capacity(data.len())?;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            self.data_is_over = true;
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
