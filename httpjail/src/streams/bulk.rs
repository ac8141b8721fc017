//! Larger reads under TLS, for long bodies.
//!
//! rustls asks the connection for 4 KiB at a time, four system calls for one record. Once a few
//! reads were filled to the brim, a long body is on its way, and a larger buffer is read
//! ahead into. It is given up when the flood ebbs, so that idle connections hold no memory.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const BUFFER: usize = 64 * 1024;
/// How many more reads must be filled than not before the buffer is made. More than a handshake or a
/// small answer needs.
const FLOOD: u8 = 8;

/// A connection that is read ahead of while much comes.
pub(crate) struct Bulk<S> {
    stream: S,
    filled_reads: u8,
    buffer: Vec<u8>,
    /// The part of the buffer that was read and not yet given on.
    start: usize,
    end: usize,
}

impl<S> Bulk<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, filled_reads: 0, buffer: Vec::new(), start: 0, end: 0 }
    }

    /// Gives on what was read ahead.
    fn drain_into(&mut self, buf: &mut ReadBuf<'_>) {
        let ahead = self.buffer.get(self.start..self.end).unwrap_or_default();
        let amount = ahead.len().min(buf.remaining());
        buf.put_slice(&ahead[..amount]);
        self.start += amount;
    }
}

impl<S: AsyncRead + Unpin> Bulk<S> {
    fn poll_direct(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let filled = buf.remaining() == 0 && buf.filled().len() > before;
        // A record's last piece fills no read, also in the middle of a flood.
        self.filled_reads =
            if filled { self.filled_reads + 1 } else { self.filled_reads.saturating_sub(1) };
        Poll::Ready(Ok(()))
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.buffer.resize(BUFFER, 0);
        let mut ahead = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut ahead))?;
        (self.start, self.end) = (0, ahead.filled().len());
        let wanted = buf.remaining();
        self.drain_into(buf);
        if self.end < wanted {
            self.filled_reads = 0;
            self.buffer = Vec::new();
            (self.start, self.end) = (0, 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bulk<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.start < self.end {
            self.drain_into(buf);
            return Poll::Ready(Ok(()));
        }
        if self.filled_reads < FLOOD {
            return self.poll_direct(cx, buf);
        }
        self.poll_ahead(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bulk<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn every_byte_comes_once_and_in_order() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let mut bulk = Bulk::new(listener.accept().await.unwrap().0);
            let sent: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
            let expected = sent.clone();
            let sending = tokio::spawn(async move { sender.write_all(&sent).await.unwrap() });
            let mut received = Vec::new();
            let mut piece = [0; 4096];
            let mut used_buffer = false;
            loop {
                let read = bulk.read(&mut piece).await.unwrap();
                if read == 0 {
                    break;
                }
                received.extend_from_slice(&piece[..read]);
                used_buffer |= !bulk.buffer.is_empty();
            }
            sending.await.unwrap();
            assert!(received == expected);
            assert!(used_buffer && bulk.buffer.is_empty());
        });
    }
}
