//! A client's connection: who reads what comes over it, and when.
//!
//! A head is read by the connection's task, a body by whoever sends it on, and what follows by the
//! task again, which sees so that the client has gone. Nothing is read ahead of that, but what came
//! with it.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use tokio::io::AsyncWrite;

use super::{
    Head, HeadError,
    head::{self, Progress},
};
use crate::{
    proxy::{interim::Interim, patience::Watch, stream::Stream},
    streams::{
        Arriving, Polled,
        http1::{Decoded, Framing, Intake, MessageError, RequestBody, Unread},
    },
};

const CONTINUE: Bytes = Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n");

/// Why nothing more can be read or written.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Broken {
    /// What came is no request.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The client ended in the middle of something.
    #[error("the connection ended before the request was whole")]
    Incomplete,
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A connection, shared by its task and by who reads the body of a request.
pub(in crate::proxy) struct Wire<S>(RefCell<Inner<S>>);

struct Inner<S> {
    /// Until the connection is served no longer.
    stream: Option<S>,
    watch: Rc<Watch>,
    /// What was read and not yet used.
    unread: Unread,
    progress: Progress,
    body: Body,
    /// What goes out before the answer.
    ahead: Bytes,
    is_answering: bool,
    /// Wakes the connection's task, and who reads the body.
    task: Option<Waker>,
    reader: Option<Waker>,
}

/// The body of the last request.
struct Body {
    number: u64,
    framing: Framing,
    expects: Expects,
    rest: Rest,
}

/// What becomes of the rest of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Somebody reads it.
    Wanted,
    /// Nobody does any more.
    GivenUp,
    /// Nobody can: it is unknown where it ends.
    Broken,
}

/// Whether the client waits for `100 Continue`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expects {
    Nothing,
    Continue,
    /// The body was asked for.
    Now,
}

impl<S: Stream + 'static> Wire<S> {
    pub(in crate::proxy) fn new(stream: S, watch: Rc<Watch>) -> Rc<Self> {
        let body = Body {
            number: 0,
            framing: Framing::Over,
            expects: Expects::Nothing,
            rest: Rest::Wanted,
        };
        Rc::new(Self(RefCell::new(Inner {
            stream: Some(stream),
            watch,
            unread: Unread::new(),
            progress: Progress::default(),
            body,
            ahead: Bytes::new(),
            is_answering: false,
            task: None,
            reader: None,
        })))
    }

    /// The next head; `None` when the client has ended in order.
    pub(in crate::proxy) fn poll_head(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Head>, Broken>> {
        let inner = &mut *self.0.borrow_mut();
        loop {
            if !inner.unread.bytes.is_empty()
                && let Some(head) = head::take(&mut inner.unread.bytes, &mut inner.progress)?
            {
                inner.unread.settle();
                return Poll::Ready(Ok(Some(head)));
            }
            if ready!(inner.poll_fill(cx))? == 0 {
                return Poll::Ready(match inner.unread.bytes.is_empty() {
                    true => Ok(None),
                    false => Err(Broken::Incomplete),
                });
            }
            inner.watch.begin_head();
        }
    }

    /// What comes behind a head. The client waits with it if it `expects` to be told.
    pub(in crate::proxy) fn begin_body(
        self: &Rc<Self>,
        framing: Framing,
        expects: bool,
    ) -> Arriving {
        let inner = &mut *self.0.borrow_mut();
        let has_body = !framing.is_over();
        let number = inner.body.number + 1;
        let expects = if expects { Expects::Continue } else { Expects::Nothing };
        inner.body = Body { number, framing, expects, rest: Rest::Wanted };
        inner.is_answering = false;
        match has_body {
            true => Arriving::Http1(RequestBody::new(Rc::clone(self) as Rc<dyn Intake>, number)),
            false => Arriving::nothing(),
        }
    }

    /// Writes what precedes the answer. Ready when the client has gone.
    pub(in crate::proxy) fn poll_aside(
        &self,
        cx: &mut Context<'_>,
        interim: &Interim,
    ) -> Poll<Broken> {
        let inner = &mut *self.0.borrow_mut();
        if !inner.is_answering
            && let Poll::Ready(Err(error)) = inner.poll_ahead(cx, interim)
        {
            return Poll::Ready(error.into());
        }
        if !inner.body.framing.is_over() {
            // Whoever reads it sees whether the client has gone.
            inner.wait(cx);
            return Poll::Pending;
        }
        if !inner.unread.bytes.is_empty() {
            return Poll::Pending;
        }
        match ready!(inner.poll_fill(cx)) {
            Ok(0) => Poll::Ready(Broken::Incomplete),
            Ok(_) => Poll::Pending,
            Err(error) => Poll::Ready(error.into()),
        }
    }

    /// From here on the answer goes out. Appends what is still to go before it to `head`.
    pub(in crate::proxy) fn begin_answer(&self, head: &mut Vec<u8>, interim: &Interim) {
        let inner = &mut *self.0.borrow_mut();
        inner.is_answering = true;
        head.extend_from_slice(&mem::take(&mut inner.ahead));
        while let Some(hint) = interim.take() {
            head.extend_from_slice(&hint);
        }
    }

    /// Whether the next request can be read, now or when the body has been: nobody has given up what
    /// is still to come of it. What has come of such a body is skipped.
    pub(in crate::proxy) fn skip_given_up(&self, cx: &mut Context<'_>) -> bool {
        let inner = &mut *self.0.borrow_mut();
        match inner.body.rest {
            Rest::Wanted => return true,
            Rest::GivenUp => {}
            Rest::Broken => return false,
        }
        loop {
            match inner.body.framing.take(&mut inner.unread.bytes) {
                Ok(Decoded::Over | Decoded::Trailers(_)) => return true,
                Ok(Decoded::Data(_)) if inner.body.framing.is_over() => return true,
                Ok(Decoded::Data(_)) => {}
                Err(_) => {
                    inner.body.rest = Rest::Broken;
                    return false;
                }
                Ok(Decoded::Nothing) => match inner.poll_fill(cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0) | Err(_)) | Poll::Pending => return false,
                },
            }
        }
    }

    /// Ready when nobody reads the body any more.
    pub(in crate::proxy) fn poll_body_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        let inner = &mut *self.0.borrow_mut();
        if inner.body.framing.is_over() || inner.body.rest != Rest::Wanted {
            return Poll::Ready(());
        }
        inner.wait(cx);
        Poll::Pending
    }

    /// Whether something has come behind the last request.
    pub(in crate::proxy) fn has_unread(&self) -> bool {
        !self.0.borrow().unread.bytes.is_empty()
    }

    /// Whether what comes next is the beginning of a request, and not of a body's rest.
    pub(in crate::proxy) fn is_between_requests(&self) -> bool {
        self.0.borrow().body.framing.is_over()
    }

    /// The connection, and what was read and not used. Whoever still reads a body finds it broken off.
    pub(in crate::proxy) fn take(&self) -> Option<(S, Bytes)> {
        let inner = &mut *self.0.borrow_mut();
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
        let stream = inner.stream.take()?;
        Some((stream, mem::take(&mut inner.unread.bytes).freeze()))
    }

    /// To write to.
    pub(in crate::proxy) fn writer(self: &Rc<Self>) -> Writer<S> {
        Writer(Rc::clone(self))
    }
}

impl<S: Stream> Inner<S> {
    /// Reads more; gives how much, 0 at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Some(stream) => self.unread.poll_fill(stream, cx),
            None => Poll::Ready(Ok(0)),
        }
    }

    /// Writes what goes before the answer.
    fn poll_ahead(&mut self, cx: &mut Context<'_>, interim: &Interim) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(())) };
        loop {
            if self.ahead.is_empty() {
                if self.body.expects == Expects::Now {
                    self.body.expects = Expects::Nothing;
                    self.ahead = CONTINUE;
                } else {
                    self.ahead = ready!(interim.poll_next(cx));
                }
            }
            while !self.ahead.is_empty() {
                let written = ready!(Pin::new(&mut *stream).poll_write(cx, &self.ahead))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.ahead.advance(written);
            }
            // What finds no room in the layer below goes out with what follows.
            if let Poll::Ready(Err(error)) = Pin::new(&mut *stream).poll_flush(cx) {
                return Poll::Ready(Err(error));
            }
        }
    }

    /// The connection's task waits for the body.
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
        }
    }

    fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        if self.body.expects == Expects::Continue && !self.is_answering {
            self.body.expects = Expects::Now;
            self.wake();
        }
        loop {
            match self.body.framing.take(&mut self.unread.bytes) {
                Ok(Decoded::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Decoded::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::Over) => return Poll::Ready(None),
                Ok(Decoded::Nothing) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            let Poll::Ready(read) = self.poll_fill(cx) else {
                self.reader = Some(cx.waker().clone());
                return Poll::Pending;
            };
            match read {
                Ok(0) => return Poll::Ready(Some(Err(MessageError::Incomplete.into()))),
                Ok(_) => self.watch.go_on(),
                Err(error) => return Poll::Ready(Some(Err(MessageError::Read(error).into()))),
            }
        }
    }
}

impl<S: Stream> Intake for Wire<S> {
    fn poll_frame(&self, number: u64, cx: &mut Context<'_>) -> Polled {
        let inner = &mut *self.0.borrow_mut();
        if inner.body.number != number {
            return Poll::Ready(None);
        }
        let polled = inner.poll_frame(cx);
        if let Poll::Ready(Some(Err(_))) = &polled {
            inner.body.rest = Rest::Broken;
        }
        if inner.body.framing.is_over() || inner.body.rest != Rest::Wanted {
            inner.wake();
        }
        polled
    }

    fn size_hint(&self, number: u64) -> SizeHint {
        let inner = self.0.borrow();
        match inner.body.number == number {
            true => inner.body.framing.size_hint(),
            false => SizeHint::with_exact(0),
        }
    }

    fn is_over(&self, number: u64) -> bool {
        let inner = self.0.borrow();
        inner.body.number != number || inner.body.framing.is_over()
    }

    fn give_up(&self, number: u64) {
        let inner = &mut *self.0.borrow_mut();
        let body = &mut inner.body;
        if body.number == number && !body.framing.is_over() && body.rest == Rest::Wanted {
            body.rest = Rest::GivenUp;
            inner.wake();
        }
    }
}

/// A connection that an answer is written to.
pub(in crate::proxy) struct Writer<S>(Rc<Wire<S>>);

impl<S: Stream> Writer<S> {
    fn poll<T>(
        &self,
        write: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.0.0.borrow_mut().stream {
            Some(stream) => write(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl<S: Stream> AsyncWrite for Writer<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
