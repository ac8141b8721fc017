//! What was read from a connection and not yet used.

use std::{
    cell::RefCell,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// How much is read at once where nothing waits to be used: all of a small message.
const SCRATCH: usize = 16 * 1024;
/// How much is read at once of what goes on, and how much at most: long bodies come in larger pieces.
const LEAST_ROOM: usize = 8 * 1024;
const MOST_ROOM: usize = 256 * 1024;

thread_local! {
    /// All connections of a thread read into this, and copy what has come. So none of those that wait
    /// holds a buffer, and the next one finds this in the processor's cache.
    static READING: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// Bytes that wait to be used, and how many more are read at once.
#[derive(Debug)]
pub(crate) struct Unread {
    pub(crate) bytes: BytesMut,
    room: usize,
}

impl Unread {
    /// Nothing.
    pub(crate) fn new() -> Self {
        Self { bytes: BytesMut::new(), room: LEAST_ROOM }
    }

    /// Reads more from `stream`; gives how much, 0 at the end.
    ///
    /// # Errors
    ///
    /// Those of the stream.
    pub(crate) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.bytes.is_empty() && self.room == LEAST_ROOM {
            return READING.with_borrow_mut(|reading| self.poll_small(stream, cx, reading));
        }
        // What remains of an allocation is used before another one is made, unless it's a scrap.
        if self.bytes.capacity() - self.bytes.len() < self.room / 2 {
            self.bytes.reserve(self.room);
        }
        let room = self.bytes.capacity() - self.bytes.len();
        let read = ready!(pin!(stream.read_buf(&mut self.bytes)).poll(cx))?;
        if read == room {
            self.room = (self.room * 2).min(MOST_ROOM);
        } else if read < self.room / 4 {
            self.room = (self.room / 2).max(LEAST_ROOM);
        }
        Poll::Ready(Ok(read))
    }

    fn poll_small<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        reading: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut space = ReadBuf::new(reading);
        ready!(Pin::new(stream).poll_read(cx, &mut space))?;
        if space.remaining() == 0 {
            self.room = 2 * SCRATCH;
        }
        self.bytes = BytesMut::from(space.filled());
        Poll::Ready(Ok(self.bytes.len()))
    }

    /// Holds no memory for what was used.
    pub(crate) fn settle(&mut self) {
        if self.bytes.is_empty() {
            *self = Self::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn every_byte_comes_once_and_in_order_and_long_bodies_in_large_pieces() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let sent: Vec<u8> = (0..3_000_017_u32).map(|n| (n % 251) as u8).collect();
            let mut source = &sent[..];
            let mut unread = Unread::new();
            let mut received = Vec::new();
            let mut largest = 0;
            while let read @ 1.. = poll_fn(|cx| unread.poll_fill(&mut source, cx)).await.unwrap() {
                largest = largest.max(read);
                // Some is left for the next turn now and then.
                let used = if received.len() % 3 == 0 { unread.bytes.len() } else { read / 2 };
                received.extend_from_slice(&unread.bytes.split_to(used));
            }
            received.extend_from_slice(&unread.bytes.split());
            assert!(received == sent);
            assert!(largest >= MOST_ROOM, "{largest}");
            unread.settle();
            assert_eq!(unread.bytes.capacity(), 0);
        });
    }
}
