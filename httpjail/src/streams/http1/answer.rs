//! The body of an answer.

use std::{
    fmt, io,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use http_body::{Frame, SizeHint};

use super::{
    Http1Connection, Transport,
    chunked::{Chunked, Decoded},
};
use crate::streams::Polled;

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The connection broke.
    #[error("read from the connection")]
    Read(#[source] io::Error),
    /// The connection ended before the answer did.
    #[error("the connection ended in the middle of it")]
    Incomplete,
    /// A chunk's size or end isn't as RFC 9112, 7.1, has it.
    #[error("a chunk is malformed")]
    Chunk,
    /// What follows the last chunk isn't.
    #[error("its trailers are malformed")]
    Trailers,
}

/// How the end of a body is known (RFC 9112, 6.3).
#[derive(Debug)]
pub(crate) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// It comes in chunks.
    Chunked(Chunked),
    /// It goes on until the origin closes the connection.
    UntilClose,
    /// It has come to its end.
    Over,
}

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
        let framing = if let Framing::Length(0) = framing { Framing::Over } else { framing };
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
        matches!(self.framing, Framing::Over)
    }

    pub(in crate::streams) fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            Framing::Over => SizeHint::with_exact(0),
            Framing::Chunked(_) | Framing::UntilClose => SizeHint::new(),
        }
    }

    pub(in crate::streams) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        loop {
            match self.take() {
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
                    _ => return self.broken(AnswerError::Incomplete),
                },
                Ok(_) => {}
                Err(error) => return self.broken(AnswerError::Read(error)),
            }
        }
    }

    /// Takes what was read.
    fn take(&mut self) -> Result<Decoded, AnswerError> {
        let unread = self.connection.unread();
        match &mut self.framing {
            Framing::Over => Ok(Decoded::Over),
            Framing::Chunked(chunks) => {
                let decoded = chunks.decode(unread)?;
                if chunks.is_over() {
                    self.framing = Framing::Over;
                }
                Ok(decoded)
            }
            Framing::Length(_) | Framing::UntilClose if unread.is_empty() => Ok(Decoded::Nothing),
            Framing::Length(left) => {
                let length =
                    usize::try_from(*left).map_or(unread.len(), |left| unread.len().min(left));
                let data = unread.split_to(length).freeze();
                *left -= length as u64;
                if *left == 0 {
                    self.framing = Framing::Over;
                }
                Ok(Decoded::Data(data))
            }
            Framing::UntilClose => Ok(Decoded::Data(unread.split().freeze())),
        }
    }

    fn broken(&mut self, error: AnswerError) -> Polled {
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
