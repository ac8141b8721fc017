//! Bodies on their way through, streamed frame by frame.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use super::interim::Go;
use crate::{
    record::{Exchange, Fault},
    streams::{Arriving, BodyError, Polled},
    upstream::Lease,
};

/// What is told of a body that was too long.
const CUT: &str = "the request's body was cut: it has more bytes than the rule allows";

/// A request's body on its way upstream, cut where the limit is.
pub(super) struct Outgoing {
    /// `None` where there never was one.
    body: Option<Arriving>,
    left: Option<u64>,
    /// What the body waits for.
    go: Option<Go>,
    /// Is told what goes.
    exchange: Exchange,
}

impl Outgoing {
    /// `body`, of which at most `left` bytes are sent.
    pub(super) fn new(body: Arriving, left: Option<u64>, exchange: &Exchange) -> Self {
        let has_body = !body.is_end_stream();
        let exchange = if has_body { exchange.clone() } else { Exchange::none() };
        Self { body: Some(body), left, go: None, exchange }
    }

    /// The same, sent once `go` has ended.
    pub(super) fn once(self, go: Option<Go>) -> Self {
        Self { go, ..self }
    }

    /// No body.
    pub(super) fn empty() -> Self {
        Self { body: None, left: None, go: None, exchange: Exchange::none() }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        if let Some(go) = &mut self.go {
            let goes = ready!(go.as_mut().poll(cx));
            self.go = None;
            if !goes {
                return Poll::Ready(Some(Err(BodyError::Unwanted)));
            }
        }
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        if let Some(Err(error)) = &frame
            && !self.exchange.is_complete()
        {
            self.exchange.blame(Fault::Jailed, || format!("the request's body broke off: {error}"));
        }
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        let length = data.map_or(0, Bytes::len);
        let (Some(Ok(frame)), Some(left)) = (&frame, self.left) else {
            self.exchange.sent(length);
            return Poll::Ready(frame);
        };
        // Trailers are beyond what was counted.
        let Some(data) = frame.data_ref() else {
            return Poll::Ready(None);
        };
        let sent = usize::try_from(left).map_or(data.len(), |left| left.min(data.len()));
        self.left = Some(left - sent as u64);
        self.exchange.sent(sent);
        if sent < length {
            self.exchange.blame(Fault::Jailed, || CUT.to_owned());
        }
        Poll::Ready(Some(Ok(Frame::data(data.slice(..sent)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0) || self.body.as_ref().is_none_or(Arriving::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Arriving::size_hint)
    }
}

/// A response's body: an origin's, or a text of ours.
pub(super) enum Content {
    /// What httpjail says itself.
    Text(Full<Bytes>),
    /// What the origin says.
    Relayed(Relay),
}

impl Content {
    /// Nothing.
    pub(super) fn empty() -> Self {
        Self::Text(Full::default())
    }
}

/// An origin's body, and the connection that it comes over.
pub(super) struct Relay {
    body: Arriving,
    /// Is told what goes wrong.
    exchange: Exchange,
    lease: Option<Lease>,
}

impl Relay {
    pub(super) fn new(body: Arriving, lease: Lease, exchange: &Exchange) -> Self {
        let mut relay = Self { body, exchange: exchange.clone(), lease: Some(lease) };
        relay.release_at_end();
        relay
    }

    /// Gives the connection back once nothing comes over it any more.
    fn release_at_end(&mut self) {
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.finish(std::mem::replace(&mut self.body, Arriving::nothing()));
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(_)) | None => self.release_at_end(),
            Some(Err(error)) => {
                tracing::debug!(%error, "an answer broke off");
                self.exchange.blame(Fault::Upstream, || format!("the answer broke off: {error}"));
                self.lease = None;
            }
        }
        Poll::Ready(frame)
    }
}

/// A response's body whose bytes are counted. Its end is that of the exchange.
pub(super) struct Metered {
    content: Content,
    exchange: Exchange,
    /// How much is still to come, if that is known: behind it nobody asks for more.
    left: Option<u64>,
}

impl Metered {
    pub(super) fn new(content: Content, exchange: Exchange) -> Self {
        // Nobody polls a body that is empty, nor that of an answer to HEAD.
        if matches!(content, Content::Text(_)) || content.is_end_stream() {
            exchange.complete();
        }
        let left = content.size_hint().exact();
        Self { content, exchange, left }
    }

    /// Some bytes go to the client.
    fn count(&mut self, bytes: usize) {
        self.exchange.received(bytes);
        self.left = self.left.map(|left| left.saturating_sub(bytes as u64));
        if self.left == Some(0) || self.content.is_end_stream() {
            self.exchange.complete();
        }
    }
}

impl Body for Metered {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let frame = ready!(Pin::new(&mut self.content).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.count(frame.data_ref().map_or(0, Bytes::len)),
            None => self.exchange.complete(),
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        match &mut *self {
            Self::Text(text) => Pin::new(text).poll_frame(cx).map_err(|never| match never {}),
            Self::Relayed(relay) => relay.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_end_stream(),
            Self::Relayed(relay) => relay.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => text.size_hint(),
            Self::Relayed(relay) => relay.body.size_hint(),
        }
    }
}
