//! Counts the requests in what a client sends by HTTP/2.
//!
//! The library that reads the frames answers some requests itself: those that break the protocol's
//! rules, come too many at a time, or come when the connection ends. None may go without a record,
//! so they are counted before it sees them.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::patience::Watch;

const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Finds the heads of requests in a client's bytes, however they are cut. Frames that break the
/// rules end the connection elsewhere; here they only must not confuse the count of those before.
#[derive(Debug)]
pub(super) struct Scanner {
    /// Bytes to pass over before the next frame begins.
    skip: usize,
    /// The head of a frame, as far as it has come.
    head: [u8; FRAME_HEAD],
    known: usize,
    last_stream: u32,
    /// A request's head has begun and not ended.
    is_open: bool,
    /// It ends with what is passed over now.
    is_closing: bool,
    whole: u64,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self {
            skip: PREFACE,
            head: [0; FRAME_HEAD],
            known: 0,
            last_stream: 0,
            is_open: false,
            is_closing: false,
            whole: 0,
        }
    }

    /// How many heads of requests have come whole.
    pub(super) fn whole(&self) -> u64 {
        self.whole
    }

    /// Whether another one has begun.
    pub(super) fn has_begun_another(&self) -> bool {
        self.is_open
    }

    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = &bytes[passed..];
            self.end_frame();
            let Some((first, rest)) = bytes.split_first() else {
                return;
            };
            self.head[self.known] = *first;
            self.known += 1;
            bytes = rest;
            if self.known == FRAME_HEAD {
                self.known = 0;
                self.begin_frame();
                self.end_frame();
            }
        }
    }

    fn begin_frame(&mut self) {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = self.head;
        self.skip = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        if kind == HEADERS && stream > self.last_stream {
            // On a stream that was there before it brings trailers.
            self.last_stream = stream;
            self.is_open = true;
        }
        let is_of_block = kind == HEADERS || kind == CONTINUATION;
        self.is_closing = self.is_open && is_of_block && flags & END_HEADERS != 0;
    }

    fn end_frame(&mut self) {
        if self.is_closing && self.skip == 0 {
            self.is_closing = false;
            self.is_open = false;
            self.whole += 1;
        }
    }
}

/// What is known of the requests on one connection.
pub(super) struct Tally {
    scanner: RefCell<Scanner>,
    /// Requests that were judged or recorded as refused.
    told: Cell<u64>,
    /// The reader has taken all that came, and asked for more.
    is_parched: Cell<bool>,
    end: Cell<End>,
}

/// Whether the reader may know that the client has ended the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotSeen,
    /// Not yet: it would throw away requests that it has read.
    Held,
    Shown,
}

impl Tally {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            scanner: RefCell::new(Scanner::new()),
            told: Cell::new(0),
            is_parched: Cell::new(false),
            end: Cell::new(End::Shown),
        })
    }

    /// From now on the reader may have requests in hand when the connection ends.
    pub(super) fn begin(&self) {
        self.end.set(End::NotSeen);
    }

    /// A request is about to be judged.
    pub(super) fn tell_one(&self) {
        self.told.set(self.told.get() + 1);
    }

    /// How many requests the reader has taken and not given out, after it has given out all that
    /// it will. They count as told from now on.
    pub(super) fn missing(&self) -> u64 {
        if self.end.get() == End::Held {
            self.end.set(End::Shown);
        }
        if self.is_parched.get() { self.tell_rest(self.scanner.borrow().whole()) } else { 0 }
    }

    /// The same when the connection has ended, and with it a request that had only begun.
    pub(super) fn missing_at_end(&self) -> u64 {
        let scanner = self.scanner.borrow();
        self.tell_rest(scanner.whole() + u64::from(scanner.has_begun_another()))
    }

    fn tell_rest(&self, all: u64) -> u64 {
        let missing = all.saturating_sub(self.told.get());
        self.told.set(self.told.get() + missing);
        missing
    }
}

/// A connection whose requests are counted as they come in.
pub(super) struct Counted<S> {
    stream: S,
    tally: Rc<Tally>,
    watch: Rc<Watch>,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, tally: Rc<Tally>, watch: Rc<Watch>) -> Self {
        Self { stream, tally, watch }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Counted<S> {
    /// Does `act`, but keeps the end of the connection to itself for one round: seen with requests
    /// in hand, it would make the reader throw them away.
    fn attempt<T>(
        &mut self,
        cx: &mut Context<'_>,
        is_end: impl FnOnce(&io::Result<T>) -> bool,
        act: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.tally.end.get() == End::Held {
            return Poll::Pending;
        }
        let result = ready!(act(Pin::new(&mut self.stream), cx));
        if is_end(&result) && self.tally.end.get() == End::NotSeen {
            self.tally.end.set(End::Held);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        self.tally.is_parched.set(true);
        let read = self.attempt(cx, Result::is_err, |stream, cx| stream.poll_read(cx, buf));
        ready!(read)?;
        let new = buf.filled().get(before..).unwrap_or_default();
        if new.is_empty() {
            return self.attempt(cx, |_| true, |_, _| Poll::Ready(Ok(())));
        }
        self.tally.is_parched.set(false);
        let mut scanner = self.tally.scanner.borrow_mut();
        scanner.read(new);
        if scanner.has_begun_another() {
            self.watch.begin_head();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.attempt(cx, Result::is_err, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.attempt(cx, Result::is_err, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.attempt(cx, Result::is_err, AsyncWrite::poll_shutdown)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.attempt(cx, Result::is_err, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    fn conversation() -> Vec<u8> {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for frame in [
            frame(4, 0, 0, &[0; 6]),
            frame(HEADERS, END_HEADERS | 1, 1, b"abc"),
            frame(HEADERS, 0, 3, b"abc"),
            frame(CONTINUATION, 0, 3, b""),
            frame(CONTINUATION, END_HEADERS, 3, b"d"),
            frame(0, 0, 3, &[1; 300]),
            // Trailers.
            frame(HEADERS, END_HEADERS | 1, 3, b"abc"),
            frame(HEADERS, END_HEADERS, 5, b""),
            frame(3, 0, 5, &[0; 4]),
            frame(HEADERS, 0, 7, b"x"),
        ] {
            bytes.extend_from_slice(&frame);
        }
        bytes
    }

    #[test]
    fn heads_of_requests_are_counted_when_they_are_whole() {
        let bytes = conversation();
        let mut scanner = Scanner::new();
        scanner.read(&bytes);
        assert_eq!((scanner.whole(), scanner.has_begun_another()), (3, true));
        scanner.read(&frame(CONTINUATION, END_HEADERS, 7, b""));
        assert_eq!((scanner.whole(), scanner.has_begun_another()), (4, false));
        let mut last = 0;
        let mut scanner = Scanner::new();
        for byte in bytes {
            scanner.read(&[byte]);
            assert!((last..=last + 1).contains(&scanner.whole()));
            last = scanner.whole();
        }
        assert_eq!(last, 3);
    }

    proptest! {
        #[test]
        fn cuts_make_no_difference(
            noise in proptest::collection::vec(any::<u8>(), 0..200),
            size in 1_usize..40,
        ) {
            let bytes = [conversation(), noise].concat();
            let mut whole = Scanner::new();
            whole.read(&bytes);
            let mut pieces = Scanner::new();
            for piece in bytes.chunks(size) {
                pieces.read(piece);
            }
            prop_assert_eq!(whole.whole(), pieces.whole());
            prop_assert_eq!(whole.has_begun_another(), pieces.has_begun_another());
        }
    }
}
