//! Sends a body over a stream of HTTP/2.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use super::BodyError;

/// Moves a body to its stream, piece by piece. The next piece is asked for when the one before
/// has found room in the windows and the library's buffer, so whoever sends the body is held up by
/// whoever doesn't read it.
pub(crate) struct Pump<B> {
    body: B,
    to: SendStream<Bytes>,
    /// What was taken out of the body and not sent yet.
    piece: Bytes,
    /// Whether nothing follows that piece.
    is_last: bool,
    otherwise: Reason,
}

/// The stream is finished or gone: there is nothing left to do.
struct Over;

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin> Pump<B> {
    /// Moves `body` `to` its stream. If it breaks off and doesn't say why, the stream is reset with
    /// the code `otherwise`.
    pub(crate) fn new(body: B, to: SendStream<Bytes>, otherwise: Reason) -> Self {
        Self { body, to, piece: Bytes::new(), is_last: false, otherwise }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        self.to.reserve_capacity(self.piece.len());
        let room = match self.to.capacity() {
            0 => match ready!(self.to.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                Some(Err(_)) | None => return Poll::Ready(Err(Over)),
            },
            room => room,
        };
        let now = self.piece.split_to(room.min(self.piece.len()));
        self.send(now, self.is_last && self.piece.is_empty())
    }

    fn poll_next_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        // Also asks to be woken by a reset while nothing comes.
        if self.to.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Over));
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                tracing::debug!(%error, "a body broke off");
                self.to.send_reset(error.reason(self.otherwise));
                return Poll::Ready(Err(Over));
            }
            None => return self.send(Bytes::new(), true),
        };
        match frame.into_data() {
            Ok(data) => {
                self.is_last = self.body.is_end_stream();
                self.piece = data;
                match self.is_last && self.piece.is_empty() {
                    true => self.send(Bytes::new(), true),
                    false => Poll::Ready(Ok(())),
                }
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    // It fails only when the stream is gone.
                    let _ = self.to.send_trailers(trailers);
                }
                Poll::Ready(Err(Over))
            }
        }
    }

    fn send(&mut self, data: Bytes, is_end: bool) -> Poll<Result<(), Over>> {
        let sent = self.to.send_data(data, is_end);
        Poll::Ready(if sent.is_err() || is_end { Err(Over) } else { Ok(()) })
    }
}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin> Future for Pump<B> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let step = match self.piece.is_empty() {
                true => self.poll_next_piece(cx),
                false => self.poll_send(cx),
            };
            if let Err(Over) = ready!(step) {
                return Poll::Ready(());
            }
        }
    }
}
