//! A stream of HTTP/2 that is read and written like a connection, behind a CONNECT.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is handed to the library at a time, as it copies nothing itself.
const PIECE: usize = 64 * 1024;

/// Both directions of a stream. Dropped before its end, it is reset.
pub(crate) struct Duplex<K> {
    from: RecvStream,
    to: SendStream<Bytes>,
    /// What has come and was not read.
    unread: Bytes,
    is_shut: bool,
    /// Dropped with the stream.
    _kept: K,
}

impl<K> Duplex<K> {
    /// What comes `from` the stream and goes `to` it. `kept` lives as long.
    pub(crate) fn new(from: RecvStream, to: SendStream<Bytes>, kept: K) -> Self {
        Self { from, to, unread: Bytes::new(), is_shut: false, _kept: kept }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        // Also asks to be woken by a reset while there is no room.
        if let Poll::Ready(reset) = self.to.poll_reset(cx) {
            return Poll::Ready(Err(broken(reset)));
        }
        self.to.reserve_capacity(wanted);
        // News of room may be that there is none.
        let mut room = self.to.capacity();
        while room == 0 {
            room = match ready!(self.to.poll_capacity(cx)) {
                Some(room) => room.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        Poll::Ready(Ok(room))
    }
}

fn broken(reset: Result<Reason, h2::Error>) -> io::Error {
    match reset {
        Ok(reason) => io::Error::new(io::ErrorKind::ConnectionReset, reason.description()),
        Err(error) => io::Error::other(error),
    }
}

impl<K: Unpin> AsyncRead for Duplex<K> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.from.poll_data(cx)) {
                Some(Ok(data)) => self.unread = data,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.unread.len().min(buf.remaining());
        buf.put_slice(self.unread.get(..length).unwrap_or_default());
        self.unread.advance(length);
        let released = self.from.flow_control().release_capacity(length);
        Poll::Ready(released.map_err(io::Error::other))
    }
}

impl<K: Unpin> AsyncWrite for Duplex<K> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let wanted = buf.len().min(PIECE);
        let room = ready!(self.poll_room(cx, wanted))?.min(wanted);
        let piece = Bytes::copy_from_slice(buf.get(..room).unwrap_or_default());
        let sent = self.to.send_data(piece, false);
        Poll::Ready(sent.map(|()| room).map_err(io::Error::other))
    }

    /// What was written goes out by itself.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_shut {
            return Poll::Ready(Ok(()));
        }
        self.is_shut = true;
        Poll::Ready(self.to.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}
