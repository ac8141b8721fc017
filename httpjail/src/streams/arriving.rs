//! A body that arrives, whatever version of HTTP brings it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::Reason;
use http_body::{Body, Frame, SizeHint};

use super::{
    Received,
    http1::{AnswerBody, MessageError, RequestBody},
};

/// What polling a body gives.
pub(crate) type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// A body on its way in.
#[derive(Debug)]
pub(crate) enum Arriving {
    /// A request's, over HTTP/1.
    Http1(RequestBody),
    /// An answer's, over HTTP/1.
    Answer(AnswerBody),
    /// Over a stream of HTTP/2.
    Http2(Received),
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It did over HTTP/1.
    #[error(transparent)]
    Http1(#[from] MessageError),
    /// It isn't as long as its head says.
    #[error("it has another length than was announced")]
    Length,
    /// Its stream was reset, or the connection of the stream broke.
    #[error(transparent)]
    Http2(#[from] h2::Error),
    /// The origin has answered without asking for it.
    #[error("the origin wants no body")]
    Unwanted,
}

impl BodyError {
    /// The code with which to reset the stream that the body was to leave by: the one that it was
    /// reset with itself, if that doesn't look like a good end, or else `otherwise`.
    pub(crate) fn reason(&self, otherwise: Reason) -> Reason {
        match self {
            Self::Http1(_) | Self::Length | Self::Unwanted => otherwise,
            Self::Http2(error) => {
                let told = error.reason().filter(|reason| *reason != Reason::NO_ERROR);
                told.filter(|_| error.is_reset()).unwrap_or(otherwise)
            }
        }
    }
}

impl Arriving {
    /// No body.
    pub(crate) fn nothing() -> Self {
        Self::Http2(Received::nothing())
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        match &mut *self {
            Self::Http1(body) => body.poll_frame(cx),
            Self::Answer(body) => body.poll_frame(cx),
            Self::Http2(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Answer(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Answer(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
