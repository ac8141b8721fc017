//! Sends requests to origins, over idle connections where there are any.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body::Body;
use tokio::{task::spawn_local, time::interval};

use super::{
    Dial, Lease, OnInterim, Origin, Route, UpstreamError, ViaError,
    dial::Connection,
    http1::{self, ExchangeError, Failed},
    http2::{self, Sessions, Sharing, Unanswered},
    pool::Pool,
    trust::Offer,
};
use crate::streams::{
    Arriving, BodyError,
    http1::{AnswerBody, Http1Connection, Transport},
};

const SWEEP: Duration = Duration::from_secs(10);
/// How many connections of HTTP/2 are tried for one request.
pub(super) const ATTEMPTS: usize = 3;

/// An answer, and what must be given back when it has been read.
pub(crate) type Answered = (Response<Arriving>, Lease);

/// Which version of HTTP somebody speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// The body of a request that is sent.
pub(crate) trait Outgoing: Body<Data = Bytes, Error = BodyError> + Unpin + 'static {}

impl<B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static> Outgoing for B {}

/// Who is told of what comes before the answer, and of how long a new connection took.
pub(crate) type Told<'a> = (&'a dyn OnInterim, &'a Dial);

/// What there is to send a request over.
pub(super) enum Reached {
    /// A connection that is shared.
    Http2(http2::Connection),
    /// A new connection, on which the origin has chosen HTTP/1.
    Http1(Http1Connection),
    /// The origin has chosen HTTP/1 before.
    Http1Speaker,
}

/// One worker thread's client.
pub(crate) struct Client {
    route: Arc<Route>,
    pool: Rc<Pool>,
    sessions: Rc<Sessions>,
}

impl Client {
    /// A client without connections. Must be called on the worker's runtime.
    pub(crate) fn new(route: Arc<Route>) -> Self {
        let pool = Rc::<Pool>::default();
        let sessions = Rc::<Sessions>::default();
        spawn_local(sweep_regularly(Rc::clone(&pool), Rc::clone(&sessions)));
        Self { route, pool, sessions }
    }

    /// A client has begun to speak TLS, and will soon ask for something: gets ready for it.
    pub(crate) fn expect_tls(&self) {
        if !self.route.has_roots() {
            let route = Arc::clone(&self.route);
            spawn_local(async move { route.read_roots().await });
        }
    }

    /// What `origin` is known to speak alone, from what it has said of late to whoever was allowed to
    /// ask it: nobody is dialled for this.
    pub(crate) fn known_to_speak(&self, origin: &Origin) -> Option<Speaks> {
        self.route.versions.declines(origin, Instant::now()).then_some(Speaks::Http1)
    }

    /// Sends `request` to `origin` and waits for the head of the answer. It is written as for
    /// HTTP/1; `speaks` is what the jailed client speaks, and so what the origin is asked for first.
    /// `interim` is told of answers before the one that counts.
    ///
    /// An origin may close an idle connection just as it is used again. Nobody knows whether it has
    /// acted on what was sent; the `copy` of the request then goes over another one, where there is
    /// one: the caller gives copies only of requests that may be sent twice.
    pub(crate) async fn send<B: Outgoing>(
        &self,
        origin: Origin,
        request: Request<B>,
        copy: impl Fn(&Request<B>) -> Option<Request<B>>,
        speaks: Speaks,
        told: Told<'_>,
    ) -> Result<Answered, UpstreamError> {
        match speaks {
            Speaks::Http1 => self.send_by_http1(origin, request, copy, told).await,
            Speaks::Http2 => self.send_by_http2(origin, request, copy, told).await,
        }
    }

    async fn send_by_http1<B: Outgoing>(
        &self,
        origin: Origin,
        mut request: Request<B>,
        copy: impl Fn(&Request<B>) -> Option<Request<B>>,
        told: Told<'_>,
    ) -> Result<Answered, UpstreamError> {
        if let Some(proxy) = self.route.forwarder(&origin) {
            proxy.address(&mut request, &origin);
        }
        let binds = binds(request.headers(), &header::AUTHORIZATION);
        while let Some(connection) = self.pool.take(&origin) {
            request = match http1::exchange(connection, request, told.0).await {
                Ok(response) => return self.answered(origin, response, binds),
                Err(Failed { error, request }) => match request.as_ref().and_then(&copy) {
                    Some(again) => again,
                    None => return Err(failed(&origin, error)),
                },
            };
        }
        if self.sessions.is_needed(&origin) {
            return Box::pin(self.send_by_http2(origin, request, copy, told)).await;
        }
        match told.1.time(self.connect(&origin)).await {
            Ok(connection) => self.send_first(origin, connection, request, told.0).await,
            Err(error) if error.is_about_the_offer() => {
                self.sessions.of(&origin).has_insisted();
                Box::pin(self.send_by_http2(origin, request, copy, told)).await
            }
            Err(error) => Err(error),
        }
    }

    /// Sends the first request over a connection.
    async fn send_first<B: Outgoing>(
        &self,
        origin: Origin,
        connection: Http1Connection,
        request: Request<B>,
        interim: &dyn OnInterim,
    ) -> Result<Answered, UpstreamError> {
        let binds = binds(request.headers(), &header::AUTHORIZATION);
        match http1::exchange(connection, request, interim).await {
            Ok(response) => self.answered(origin, response, binds),
            Err(Failed { error, .. }) => Err(failed(&origin, error)),
        }
    }

    fn answered(
        &self,
        origin: Origin,
        response: Response<AnswerBody>,
        binds: bool,
    ) -> Result<Answered, UpstreamError> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(UpstreamError::Switched(origin.authority.host().clone()));
        }
        let wants_credentials = response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        if wants_credentials && self.route.forwarder(&origin).is_some() {
            return Err(ViaError::Credentials.into());
        }
        let is_bound = binds || self::binds(response.headers(), &header::WWW_AUTHENTICATE);
        let lease = if is_bound { Lease::Unshared } else { self.lease(origin) };
        Ok((response.map(Arriving::Answer), lease))
    }

    pub(super) fn lease(&self, origin: Origin) -> Lease {
        Lease::of_connection(Rc::clone(&self.pool), origin)
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    async fn connect(&self, origin: &Origin) -> Result<Http1Connection, UpstreamError> {
        let transport = match self.route.dial(origin, Offer::Http1).await? {
            Connection::Plain(stream) | Connection::Forwarded(stream) => Transport::Plain(stream),
            Connection::Tls(stream) => Transport::Tls(stream),
        };
        Ok(Http1Connection::new(transport))
    }

    async fn send_by_http2<B: Outgoing>(
        &self,
        origin: Origin,
        mut request: Request<B>,
        copy: impl Fn(&Request<B>) -> Option<Request<B>>,
        told: Told<'_>,
    ) -> Result<Answered, UpstreamError> {
        let sharing = self.sessions.of(&origin);
        let mut failure = UpstreamError::Unprocessed(origin.authority.host().clone());
        for _ in 0..ATTEMPTS {
            let connection = match self.reach(&origin, &sharing, told.1).await? {
                Reached::Http2(connection) => connection,
                Reached::Http1(connection) => {
                    return self.send_first(origin, connection, request, told.0).await;
                }
                Reached::Http1Speaker => {
                    return Box::pin(self.send_by_http1(origin, request, copy, told)).await;
                }
            };
            let again = copy(&request);
            request = match connection.send(request, origin.scheme, told.0).await {
                Ok((response, place)) => return Ok((response, Lease::Http2(place))),
                Err(Unanswered::Unsent(request)) => request,
                Err(Unanswered::Failed(error)) => {
                    if http2::wants_http1(&error) {
                        sharing.has_declined();
                    }
                    let again = again.filter(|_| http2::is_of_the_connection(&error));
                    failure = failed_by_http2(&origin, error);
                    match again {
                        Some(again) => again,
                        None => break,
                    }
                }
            };
        }
        Err(failure)
    }

    /// A connection to `origin` that has room for a request, an open one if there is one.
    pub(super) async fn reach(
        &self,
        origin: &Origin,
        sharing: &Sharing,
        dial: &Dial,
    ) -> Result<Reached, UpstreamError> {
        let known = || match sharing.with_room() {
            Some(connection) => Some(Reached::Http2(connection)),
            None => sharing.declines().then_some(Reached::Http1Speaker),
        };
        if let Some(reached) = known() {
            return Ok(reached);
        }
        let failures = sharing.failures();
        let turn = sharing.dialling.lock().await;
        if let Some(reached) = known() {
            return Ok(reached);
        }
        // Whoever has waited for a dial that failed dials at once and alone.
        let turn = (sharing.failures() == failures).then_some(turn);
        let reached = dial.time(self.dial_http2(origin, sharing)).await;
        if reached.is_err() {
            sharing.has_failed();
        }
        drop(turn);
        reached
    }

    async fn dial_http2(
        &self,
        origin: &Origin,
        sharing: &Sharing,
    ) -> Result<Reached, UpstreamError> {
        let started = match self.route.dial_through(origin, Offer::Any).await? {
            // The client knows without asking that the origin speaks it.
            Connection::Plain(stream) | Connection::Forwarded(stream) => {
                http2::Connection::start(stream).await
            }
            Connection::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                http2::Connection::start(stream).await
            }
            Connection::Tls(stream) => {
                sharing.has_declined();
                self.route.versions.has_declined(origin, Instant::now());
                return Ok(Reached::Http1(Http1Connection::new(Transport::Tls(stream))));
            }
        };
        let connection = started.map_err(|error| failed_by_http2(origin, error))?;
        sharing.add(connection.clone());
        Ok(Reached::Http2(connection))
    }
}

pub(super) fn failed_by_http2(origin: &Origin, source: h2::Error) -> UpstreamError {
    let host = origin.authority.host().clone();
    if http2::is_unprocessed(&source) {
        return UpstreamError::Unprocessed(host);
    }
    UpstreamError::Http2 { host, source }.plainly()
}

pub(super) fn failed(origin: &Origin, source: ExchangeError) -> UpstreamError {
    UpstreamError::Http { host: origin.authority.host().clone(), source }.plainly()
}

async fn sweep_regularly(pool: Rc<Pool>, sessions: Rc<Sessions>) {
    let mut ticks = interval(SWEEP);
    loop {
        ticks.tick().await;
        pool.sweep();
        sessions.sweep();
    }
}

/// Whether credentials are of a kind that counts for the connection, and not for one request (RFC 4559;
/// NTLM): whoever had such a connection next would be taken for whom they belong to.
fn binds(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(name).iter().any(|value| {
        let scheme = value.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
        [&b"ntlm"[..], b"negotiate"].iter().any(|it| scheme.eq_ignore_ascii_case(it))
    })
}
