//! A connection to an origin that speaks HTTP/1.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Sending, Transport, Unread};

/// A connection, and what was read from it and not yet used.
pub(crate) struct Http1Connection {
    transport: Rc<RefCell<Transport>>,
    unread: Unread,
    /// The body of the request whose answer is awaited or read.
    sending: Option<Sending>,
}

/// The same connection for whoever writes to it. Reading and writing have a waker each.
#[derive(Clone)]
pub(crate) struct Writer(Rc<RefCell<Transport>>);

impl Http1Connection {
    /// A connection over which nothing has gone yet.
    pub(crate) fn new(transport: Transport) -> Self {
        let transport = Rc::new(RefCell::new(transport));
        Self { transport, unread: Unread::new(), sending: None }
    }

    /// Its other direction.
    pub(crate) fn writer(&self) -> Writer {
        Writer(Rc::clone(&self.transport))
    }

    /// What was read and not yet used.
    pub(crate) fn unread(&mut self) -> &mut BytesMut {
        &mut self.unread.bytes
    }

    /// Notes that a body is on its way out. Dropped, the connection ends that.
    pub(crate) fn set_sending(&mut self, sending: Sending) {
        self.sending = Some(sending);
    }

    /// The body that is on its way out.
    pub(crate) fn sending(&self) -> Option<&Sending> {
        self.sending.as_ref()
    }

    /// Reads more; gives how much, 0 at the end.
    ///
    /// # Errors
    ///
    /// Those of the transport.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.unread.poll_fill(&mut *self.transport.borrow_mut(), cx)
    }

    /// What it goes over, and what was read and not yet used. Nobody may be writing to it.
    pub(super) fn into_parts(self) -> (Transport, BytesMut) {
        let Self { transport, unread, sending, .. } = self;
        drop(sending);
        let transport = Rc::into_inner(transport).expect("nobody else holds the connection");
        (transport.into_inner(), unread.bytes)
    }

    /// Makes it fit to wait for the next exchange; tells whether it is: the request is out, and
    /// nothing has come behind the answer.
    pub(crate) fn settle(&mut self) -> bool {
        let is_sent = self.sending.take().is_none_or(|sending| sending.is_over());
        let is_empty = self.unread.bytes.is_empty();
        self.unread = Unread::new();
        is_sent && is_empty
    }

    /// Whether it is open and silent. An origin that says something unasked, or has closed it, can't
    /// be asked over it.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        let mut transport = self.transport.borrow_mut();
        // Nobody else reads now; whoever does next sets a waker of its own.
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut *transport).poll_read(&mut cx, &mut byte).is_pending()
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
