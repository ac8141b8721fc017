//! Writes a message whose body comes piece by piece.

use std::{cell::Cell, future::poll_fn, io::Write, pin::Pin, rc::Rc, task::Poll};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::streams::BodyError;

/// Pieces that fit in here together with what is ahead of them are copied behind it, and leave with
/// it: a small message in one write.
const SMALL: usize = 4 * 1024;

/// How the other side is told where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// It has so many bytes.
    Known(u64),
    /// It goes in chunks (RFC 9112, 7.1).
    Chunked,
    /// It goes on until the connection is closed.
    UntilClose,
}

/// Why a message isn't out.
pub(crate) enum Unsent {
    /// The connection takes no more of it.
    Write,
    /// The body broke off.
    Body(BodyError),
}

/// A message on its way out.
pub(crate) struct Writing<W> {
    writer: W,
    /// What goes out with the next piece.
    ahead: Vec<u8>,
    length: Length,
    /// What may follow a body in chunks.
    trailers: Vec<HeaderName>,
    pieces: u64,
    /// The number of the write for which room is awaited.
    blocked_at: Option<Rc<Cell<Option<u64>>>>,
}

impl<W: AsyncWrite + Unpin> Writing<W> {
    /// A message with this `head`, and a body of this `length`.
    pub(crate) fn new(writer: W, head: Vec<u8>, length: Length) -> Self {
        Self { writer, ahead: head, length, trailers: Vec::new(), pieces: 0, blocked_at: None }
    }

    /// The same; these `trailers` may follow a body in chunks.
    pub(crate) fn with_trailers(self, trailers: Vec<HeaderName>) -> Self {
        Self { trailers, ..self }
    }

    /// The same; `blocked_at` is told for which write room is awaited.
    pub(crate) fn observed_by(self, blocked_at: Rc<Cell<Option<u64>>>) -> Self {
        Self { blocked_at: Some(blocked_at), ..self }
    }

    /// The buffer, empty, behind all that was written.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.ahead
    }

    /// Writes the head alone.
    ///
    /// # Errors
    ///
    /// When the connection doesn't take it.
    pub(crate) async fn send_head(&mut self) -> Result<(), Unsent> {
        self.write(Bytes::new(), b"").await
    }

    /// Writes the message to its end.
    ///
    /// # Errors
    ///
    /// When the connection doesn't take it, or the body breaks off.
    pub(crate) async fn send<B>(&mut self, mut body: B) -> Result<(), Unsent>
    where
        B: Body<Data = Bytes, Error = BodyError> + Unpin,
    {
        while let Some(frame) = self.next_frame(&mut body).await? {
            let frame = frame.map_err(Unsent::Body)?;
            let is_last = body.is_end_stream();
            let frame = match frame.into_data() {
                Ok(data) if is_last => {
                    // Whoever sends it may go on, however long the last piece takes.
                    drop(body);
                    self.send_piece(data).await?;
                    return self.end(None).await;
                }
                Ok(data) => {
                    self.send_piece(data).await?;
                    continue;
                }
                Err(frame) => frame,
            };
            if let Ok(trailers) = frame.into_trailers() {
                drop(body);
                return self.end(Some(&trailers)).await;
            }
        }
        drop(body);
        self.end(None).await
    }

    /// The next frame. While there is none, what is ahead goes out alone.
    async fn next_frame<B>(
        &mut self,
        body: &mut B,
    ) -> Result<Option<Result<Frame<Bytes>, BodyError>>, Unsent>
    where
        B: Body<Data = Bytes, Error = BodyError> + Unpin,
    {
        if !self.ahead.is_empty() {
            let ready = poll_fn(|cx| {
                Poll::Ready(match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Ready(frame) => Some(frame),
                    Poll::Pending => None,
                })
            });
            if let Some(frame) = ready.await {
                return Ok(frame);
            }
            self.write(Bytes::new(), b"").await?;
        }
        Ok(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await)
    }

    async fn send_piece(&mut self, data: Bytes) -> Result<(), Unsent> {
        // An empty chunk would be the end.
        if data.is_empty() {
            return Ok(());
        }
        let behind: &[u8] = match &mut self.length {
            Length::Known(left) => {
                let length = data.len() as u64;
                *left = left.checked_sub(length).ok_or(Unsent::Body(BodyError::Length))?;
                b""
            }
            Length::Chunked => {
                write!(self.ahead, "{:x}\r\n", data.len()).map_err(|_| Unsent::Write)?;
                b"\r\n"
            }
            Length::UntilClose => b"",
        };
        if self.ahead.len() + data.len() + behind.len() > SMALL {
            return self.write(data, behind).await;
        }
        self.ahead.extend_from_slice(&data);
        self.ahead.extend_from_slice(behind);
        Ok(())
    }

    async fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Unsent> {
        match self.length {
            Length::Known(0) | Length::UntilClose => {}
            Length::Known(_) => return Err(Unsent::Body(BodyError::Length)),
            Length::Chunked => {
                let end = &mut self.ahead;
                end.extend_from_slice(b"0\r\n");
                let announced = trailers.into_iter().flatten();
                for (name, value) in announced.filter(|(name, _)| self.trailers.contains(name)) {
                    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                        end.extend_from_slice(part);
                    }
                }
                end.extend_from_slice(b"\r\n");
            }
        }
        if self.ahead.is_empty() { Ok(()) } else { self.write(Bytes::new(), b"").await }
    }

    /// Writes what is ahead, `data` and `behind`, all at once where there is room.
    async fn write(&mut self, data: Bytes, behind: &[u8]) -> Result<(), Unsent> {
        self.pieces += 1;
        self.note(Some(self.pieces));
        let ahead = &self.ahead[..];
        let written = if data.is_empty() {
            self.writer.write_all(ahead).await
        } else {
            self.writer.write_all_buf(&mut ahead.chain(data).chain(behind)).await
        };
        written.map_err(|_| Unsent::Write)?;
        // TLS keeps what found no room.
        self.writer.flush().await.map_err(|_| Unsent::Write)?;
        self.ahead.clear();
        self.note(None);
        Ok(())
    }

    fn note(&self, write: Option<u64>) {
        if let Some(blocked_at) = &self.blocked_at {
            blocked_at.set(write);
        }
    }
}
