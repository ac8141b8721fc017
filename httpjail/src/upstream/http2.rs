//! Connections to origins that speak HTTP/2: one carries many requests at a time.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{
    Ping, PingPong, Reason, RecvStream, SendStream,
    client::{Builder, SendRequest},
    ext::Protocol,
};
use http::{Method, Request, Response, Uri, Version, header, request::Parts, uri};
use http_body::Body;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Mutex,
    task::spawn_local,
    time::timeout,
};

use super::{OnInterim, Origin, versions};
use crate::{
    policy::Scheme,
    streams::{Arriving, BodyError, Pump, Received},
};

/// How many requests share a connection; beyond that another is opened.
const STREAMS: usize = 64;
/// How much of an answer may be under way or wait for a slow reader. At 50 ms to the origin it lets
/// 20 MiB/s through.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Room for all streams: programs that know nothing of each other share the connection, and one
/// that doesn't read its answer must not hold up the others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;
const SEND_BUFFER: usize = 256 * 1024;
const MAX_HEADER_LIST: u32 = 256 * 1024;
/// As for idle connections of HTTP/1.
const IDLE: Duration = Duration::from_secs(60);
/// How long the origin's settings may take where they must be known.
const SETTINGS: Duration = Duration::from_secs(5);

/// What one worker knows of its origins' HTTP/2.
#[derive(Default)]
pub(super) struct Sessions {
    origins: RefCell<HashMap<Origin, Rc<Sharing>>>,
}

/// The connections to one origin.
pub(super) struct Sharing {
    open: RefCell<Vec<Connection>>,
    speaks: Cell<Speaks>,
    /// Held by who dials, so that many requests at once open one connection.
    pub(super) dialling: Mutex<()>,
    failures: Cell<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Unknown,
    /// HTTP/1 alone, as it said then.
    Http1(Instant),
    /// It refused HTTP/1.
    Http2,
}

/// A connection that requests share.
#[derive(Clone)]
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    state: Rc<State>,
}

struct State {
    is_over: Cell<bool>,
    /// None once the origin was asked for a sign of life; held until it has given it.
    ping: Mutex<Option<PingPong>>,
    requests: Cell<usize>,
    used: Cell<Instant>,
}

/// A request's place on its connection, until its answer has been read.
pub(crate) struct Place(Rc<State>);

/// A request that got no answer.
pub(super) enum Unanswered<B> {
    /// It never left.
    Unsent(Request<B>),
    /// It left, perhaps only in part.
    Failed(h2::Error),
}

impl Sessions {
    pub(super) fn of(&self, origin: &Origin) -> Rc<Sharing> {
        if let Some(sharing) = self.origins.borrow().get(origin) {
            return Rc::clone(sharing);
        }
        let sharing = Rc::new(Sharing {
            open: RefCell::default(),
            speaks: Cell::new(Speaks::Unknown),
            dialling: Mutex::default(),
            failures: Cell::new(0),
        });
        self.origins.borrow_mut().insert(origin.clone(), Rc::clone(&sharing));
        sharing
    }

    /// Whether the origin refuses HTTP/1.
    pub(super) fn is_needed(&self, origin: &Origin) -> bool {
        let origins = self.origins.borrow();
        origins.get(origin).is_some_and(|sharing| sharing.speaks.get() == Speaks::Http2)
    }

    /// Closes what has been idle for too long, and forgets origins of which nothing is known.
    pub(super) fn sweep(&self) {
        self.origins.borrow_mut().retain(|_, sharing| {
            sharing.open.borrow_mut().retain(Connection::is_worth_keeping);
            // Somebody else's hold means that a request is about to use it.
            Rc::strong_count(sharing) > 1 || sharing.declines() || !sharing.open.borrow().is_empty()
        });
    }
}

impl Sharing {
    /// A connection with room for another request.
    pub(super) fn with_room(&self) -> Option<Connection> {
        let mut open = self.open.borrow_mut();
        open.retain(|connection| !connection.state.is_over.get());
        open.iter().find(|connection| connection.has_room()).cloned()
    }

    pub(super) fn add(&self, connection: Connection) {
        self.open.borrow_mut().push(connection);
    }

    /// Whether the origin has said that it speaks HTTP/1 alone.
    pub(super) fn declines(&self) -> bool {
        matches!(self.speaks.get(), Speaks::Http1(since) if since.elapsed() < versions::FRESH)
    }

    pub(super) fn has_declined(&self) {
        self.speaks.set(Speaks::Http1(Instant::now()));
    }

    pub(super) fn has_insisted(&self) {
        self.speaks.set(Speaks::Http2);
    }

    /// How often a dial has failed: who waited for one needn't wait for the next.
    pub(super) fn failures(&self) -> u64 {
        self.failures.get()
    }

    pub(super) fn has_failed(&self) {
        self.failures.set(self.failures.get() + 1);
    }
}

impl Connection {
    /// Begins to speak HTTP/2 on `io`.
    pub(super) async fn start<T>(io: T) -> Result<Self, h2::Error>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEADER_LIST);
        let (sender, mut connection) = builder.handshake(io).await?;
        let state = Rc::new(State {
            is_over: Cell::new(false),
            ping: Mutex::new(connection.ping_pong()),
            requests: Cell::new(0),
            used: Cell::new(Instant::now()),
        });
        let driven = Rc::clone(&state);
        spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an upstream connection ended");
            }
            driven.is_over.set(true);
        });
        Ok(Self { sender, state })
    }

    fn has_room(&self) -> bool {
        let most = self.sender.current_max_send_streams().min(STREAMS);
        self.state.requests.get() < most
    }

    fn is_worth_keeping(&self) -> bool {
        let is_busy = self.state.requests.get() > 0;
        !self.state.is_over.get() && (is_busy || self.state.used.get().elapsed() < IDLE)
    }

    /// Sends `request`, written as for HTTP/1, and waits for the head of the answer; `interim` is
    /// told what comes before.
    pub(super) async fn send<B>(
        &self,
        request: Request<B>,
        scheme: Scheme,
        interim: &dyn OnInterim,
    ) -> Result<(Response<Arriving>, Place), Unanswered<B>>
    where
        B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
    {
        let mut sender = self.sender.clone();
        if poll_fn(|cx| sender.poll_ready(cx)).await.is_err() {
            // It was told to go, and takes no more.
            self.state.is_over.set(true);
            return Err(Unanswered::Unsent(request));
        }
        let place = Place::take(&self.state);
        let (parts, body) = request.into_parts();
        let is_bodiless = body.is_end_stream();
        let head = rewrite(parts, scheme);
        let (mut response, stream) =
            sender.send_request(head, is_bodiless).map_err(Unanswered::Failed)?;
        if !is_bodiless {
            spawn_local(Pump::new(body, stream, Reason::CANCEL));
        }
        let answer = poll_fn(|cx| {
            while let Poll::Ready(Some(Ok(head))) = response.poll_informational(cx) {
                interim.tell(head.status(), head.headers());
            }
            Pin::new(&mut response).poll(cx)
        });
        let (parts, body) = answer.await.map_err(Unanswered::Failed)?.into_parts();
        let body = Received::new(body, &parts.headers);
        Ok((Response::from_parts(parts, Arriving::Http2(body)), place))
    }
}

impl Connection {
    /// Whether the origin takes a CONNECT with a protocol (RFC 8441). Its settings, which say so, come
    /// before its answer to anything.
    pub(super) async fn takes_protocols(&self) -> bool {
        if !self.sender.is_extended_connect_protocol_enabled() {
            let mut ping = self.state.ping.lock().await;
            if let Some(mut ping) = ping.take() {
                // Whatever came of it, what is known then counts.
                let _ = timeout(SETTINGS, ping.ping(Ping::opaque())).await;
            }
        }
        self.sender.is_extended_connect_protocol_enabled()
    }

    /// Asks for `protocol` by a request that is written as one for HTTP/1, and has no body.
    pub(super) async fn connect(
        &self,
        parts: Parts,
        scheme: Scheme,
        protocol: Protocol,
    ) -> Result<(Response<RecvStream>, SendStream<Bytes>, Place), h2::Error> {
        let mut sender = self.sender.clone();
        // One that was told to go takes no more.
        let ready = poll_fn(|cx| sender.poll_ready(cx)).await;
        ready.inspect_err(|_| self.state.is_over.set(true))?;
        let place = Place::take(&self.state);
        let mut head = rewrite(parts, scheme);
        *head.method_mut() = Method::CONNECT;
        head.extensions_mut().insert(protocol);
        let (response, stream) = sender.send_request(head, false)?;
        Ok((response.await?, stream, place))
    }
}

impl Place {
    fn take(state: &Rc<State>) -> Self {
        state.requests.set(state.requests.get() + 1);
        Self(Rc::clone(state))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get() - 1);
        self.0.used.set(Instant::now());
    }
}

/// Whether the origin has certainly not acted on a request that failed so (RFC 9113, 8.7).
pub(super) fn is_unprocessed(error: &h2::Error) -> bool {
    let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    error.is_remote() && (is_refused || error.is_go_away())
}

/// Whether a request that failed so, and may be sent twice, is worth another connection.
pub(super) fn is_of_the_connection(error: &h2::Error) -> bool {
    error.is_io() || is_unprocessed(error) || wants_http1(error)
}

/// Whether the origin takes this request by HTTP/1 alone.
pub(super) fn wants_http1(error: &h2::Error) -> bool {
    error.is_remote() && error.reason() == Some(Reason::HTTP_1_1_REQUIRED)
}

/// From the head of a request for HTTP/1 to one for HTTP/2: where it goes stands in its target,
/// and nothing in it belongs to one connection.
fn rewrite(parts: Parts, scheme: Scheme) -> Request<()> {
    let Parts { method, uri, mut headers, .. } = parts;
    headers.remove(header::CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
    let authority = headers
        .remove(header::HOST)
        .and_then(|host| {
            uri::Authority::from_maybe_shared(Bytes::copy_from_slice(host.as_bytes())).ok()
        })
        .expect("the Host header was written from a judged authority");
    let mut target = uri::Parts::from(uri);
    target.scheme = Some(match scheme {
        // No request goes over what is carried as a whole.
        Scheme::Http | Scheme::Tcp => uri::Scheme::HTTP,
        Scheme::Https | Scheme::Tls => uri::Scheme::HTTPS,
    });
    target.authority = Some(authority);
    let target = Uri::from_parts(target).expect("a scheme, an authority and a path make a URL");
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewritten_head_has_nothing_of_one_connection() {
        let request = Request::post("/p?q")
            .header("host", "a.test:8443")
            .header("te", "trailers")
            .header("connection", "te")
            .header("transfer-encoding", "chunked")
            .header("x", "1")
            .body(())
            .unwrap();
        let rewritten = rewrite(request.into_parts().0, Scheme::Https);
        assert_eq!(rewritten.uri(), "https://a.test:8443/p?q");
        let mut names: Vec<_> = rewritten.headers().keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["te", "x"]);
    }
}
