//! The body of an answer.

use std::{
    fmt,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use http_body::{Frame, SizeHint};

use super::{Framing, Http1Connection, MessageError, Transport, chunked::Decoded};
use crate::streams::Polled;

/// A body on its way in, and the connection that it comes over.
pub(crate) struct AnswerBody {
    connection: Http1Connection,
    framing: Framing,
    /// Whether the origin takes another request over it.
    keeps: bool,
}

impl AnswerBody {
    /// What comes over `connection` behind the answer's head.
    pub(crate) fn new(connection: Http1Connection, framing: Framing, keeps: bool) -> Self {
        Self { connection, framing, keeps }
    }

    /// The connection behind a body that has come to its end, if the origin takes another request
    /// over it.
    pub(crate) fn into_connection(self) -> Option<Http1Connection> {
        (self.is_end_stream() && self.keeps).then_some(self.connection)
    }

    /// What the connection goes over, and what was read and isn't of this answer: behind it, another
    /// protocol is spoken.
    pub(crate) fn into_transport(self) -> (Transport, BytesMut) {
        self.connection.into_parts()
    }

    pub(in crate::streams) fn is_end_stream(&self) -> bool {
        self.framing.is_over()
    }

    pub(in crate::streams) fn size_hint(&self) -> SizeHint {
        self.framing.size_hint()
    }

    pub(in crate::streams) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            match self.framing.take(self.connection.unread()) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::Over) => return Poll::Ready(None),
                Ok(Decoded::Nothing) => {}
                Err(error) => return self.broken(error),
            }
            match ready!(self.connection.poll_fill(cx)) {
                Ok(0) => match self.framing {
                    Framing::UntilClose => self.framing = Framing::Over,
                    _ => return self.broken(MessageError::Incomplete),
                },
                Ok(_) => {}
                Err(error) => return self.broken(MessageError::Read(error)),
            }
        }
    }

    fn broken(&mut self, error: MessageError) -> Polled {
        self.framing = Framing::Over;
        self.keeps = false;
        Poll::Ready(Some(Err(error.into())))
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerBody").field("framing", &self.framing).finish_non_exhaustive()
    }
}
