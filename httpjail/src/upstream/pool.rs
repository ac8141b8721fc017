//! Idle connections to origins, kept by one worker thread.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

use hyper::client::conn::http1::SendRequest;
use tokio::{task::spawn_local, time::timeout};

use super::http2::Place;
use crate::policy::{Authority, Scheme};

/// Below the 75 s after which common servers close: a connection is seldom closed just as it is
/// used again.
const IDLE: Duration = Duration::from_secs(60);
const MOST_IDLE: usize = 1024;
/// How long the end of an exchange may take to be noticed.
const NOTICE: Duration = Duration::from_millis(250);

/// Where a connection leads. Connections are shared between requests of the same origin alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// Plain or inside TLS.
    pub(crate) scheme: Scheme,
    /// The judged host and port.
    pub(crate) authority: Authority,
}

/// The idle connections.
pub(super) struct Pool<B> {
    idle: RefCell<HashMap<Origin, Vec<Idle<B>>>>,
    count: Cell<usize>,
}

struct Idle<B> {
    sender: SendRequest<B>,
    since: Instant,
}

impl<B> Pool<B> {
    pub(super) fn new() -> Self {
        Self { idle: RefCell::default(), count: Cell::new(0) }
    }

    /// Takes the connection to `origin` that was used last and is still good.
    pub(super) async fn take(&self, origin: &Origin) -> Option<SendRequest<B>> {
        while let Some(mut idle) = self.pop(origin) {
            let fresh = idle.since.elapsed() < IDLE && !idle.sender.is_closed();
            if fresh && (idle.sender.is_ready() || becomes_ready(&mut idle.sender).await) {
                return Some(idle.sender);
            }
        }
        None
    }

    fn pop(&self, origin: &Origin) -> Option<Idle<B>> {
        let idle = self.idle.borrow_mut().get_mut(origin)?.pop()?;
        self.count.set(self.count.get() - 1);
        Some(idle)
    }

    fn put(&self, origin: Origin, sender: SendRequest<B>) {
        if sender.is_closed() || self.count.get() >= MOST_IDLE {
            return;
        }
        self.count.set(self.count.get() + 1);
        let idle = Idle { sender, since: Instant::now() };
        self.idle.borrow_mut().entry(origin).or_default().push(idle);
    }

    /// Closes what has been idle for too long or was closed by the origin.
    pub(super) fn sweep(&self) {
        let mut left = 0;
        self.idle.borrow_mut().retain(|_, connections| {
            connections.retain(|idle| idle.since.elapsed() < IDLE && !idle.sender.is_closed());
            left += connections.len();
            !connections.is_empty()
        });
        self.count.set(left);
    }
}

/// Waits until a connection on which nothing is under way takes another request.
///
/// One may never do: if the answer is read while the end of the request still waits for room in the
/// socket, hyper (1.12) doesn't ask for the next request when that end is out, and nothing makes it
/// look again before the origin closes the connection.
async fn becomes_ready<B>(sender: &mut SendRequest<B>) -> bool {
    timeout(NOTICE, sender.ready()).await.is_ok_and(|ready| ready.is_ok())
}

/// A connection whose answer is still being read. Dropped, the connection is closed, or over
/// HTTP/2 the stream; only [`Lease::finish`] keeps it for the next request.
pub(crate) enum Lease<B> {
    /// The whole connection.
    Http1(Loan<B>),
    /// One of many places on it.
    Http2(Place),
}

/// A connection out of the pool.
pub(crate) struct Loan<B> {
    pool: Rc<Pool<B>>,
    origin: Origin,
    sender: SendRequest<B>,
}

impl<B> Lease<B> {
    pub(super) fn of_connection(pool: Rc<Pool<B>>, origin: Origin, sender: SendRequest<B>) -> Self {
        Self::Http1(Loan { pool, origin, sender })
    }

    /// A connection that no other request may use.
    pub(super) fn unshared(origin: Origin, sender: SendRequest<B>) -> Self {
        Self::of_connection(Rc::new(Pool::new()), origin, sender)
    }

    /// Puts the connection back: both the request and its answer have come to their end.
    pub(crate) fn finish(self) {
        match self {
            Self::Http1(loan) => loan.pool.put(loan.origin, loan.sender),
            Self::Http2(place) => drop(place),
        }
    }
}

impl<B: 'static> Lease<B> {
    /// The same for a request with a body, whose end may still be on its way out: the connection is
    /// put back as soon as it takes another request.
    pub(crate) fn finish_when_ready(self) {
        match self {
            Self::Http1(loan) if !loan.sender.is_ready() => {
                spawn_local(async move {
                    let Loan { pool, origin, mut sender } = loan;
                    if becomes_ready(&mut sender).await {
                        pool.put(origin, sender);
                    }
                });
            }
            lease => lease.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, pin::Pin, task};

    use bytes::Bytes;
    use http::Request;
    use http_body::{Body, Frame};
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
        sync::mpsc::{UnboundedReceiver, unbounded_channel},
        task::LocalSet,
    };

    use super::*;
    use crate::policy::Host;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A body that comes piece by piece.
    struct Pieces(UnboundedReceiver<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut task::Context<'_>,
        ) -> task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.poll_recv(cx).map(|piece| piece.map(Frame::data).map(Ok))
        }
    }

    #[tokio::test]
    async fn a_connection_that_never_gets_ready_holds_up_no_request() {
        LocalSet::new().run_until(holds_up_no_request()).await;
    }

    async fn holds_up_no_request() {
        let (near, mut origin) = UnixStream::pair().unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
        spawn_local(connection);
        let (pieces, body) = unbounded_channel();
        let request = Request::put("/").header("host", "a.test").body(Pieces(body)).unwrap();
        let answer = spawn_local(async move {
            let response = sender.send_request(request).await.unwrap();
            (response, sender)
        });
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            origin.read_buf(&mut head).await.unwrap();
        }
        // The end of the request waits for room while the answer is read.
        let body = Bytes::from(vec![b'x'; 400_000]);
        pieces.send(body).unwrap();
        drop(pieces);
        origin.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        let (response, sender) = answer.await.unwrap();
        assert_eq!(response.status(), 204);
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n0\r\n\r\n") {
            origin.read_buf(&mut rest).await.unwrap();
        }

        let pool = Rc::new(Pool::new());
        let authority = Authority::new(Host::parse("a.test").unwrap(), 80);
        let place = Origin { scheme: Scheme::Http, authority };
        Lease::of_connection(Rc::clone(&pool), place.clone(), sender).finish_when_ready();
        let taken = timeout(PATIENCE, pool.take(&place)).await;
        assert!(taken.expect("the next request waits").is_none_or(|sender| sender.is_ready()));
    }
}
