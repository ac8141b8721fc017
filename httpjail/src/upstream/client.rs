//! Sends requests to origins, over idle connections where there are any.

use std::{rc::Rc, sync::Arc, time::Duration};

use hyper::{
    Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    rt,
};
use hyper_util::rt::TokioIo;
use tokio::{task::spawn_local, time::interval};

use super::{
    Lease, Origin, Route, UpstreamError, ViaError,
    dial::Connection,
    http2::{self, Sessions, Sharing, Unanswered},
    pool::Pool,
    trust::Offer,
};
use crate::streams::{Arriving, BodyError};

const SWEEP: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 512;
const MAX_BUFFER: usize = 512 * 1024;
/// How many connections of HTTP/2 are tried for one request.
pub(super) const ATTEMPTS: usize = 3;

/// An answer, and what must be given back when it has been read.
pub(crate) type Answered<B> = (Response<Arriving>, Lease<B>);

/// Which version of HTTP somebody speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What there is to send a request over.
pub(super) enum Reached<B> {
    /// A connection that is shared.
    Http2(http2::Connection),
    /// A new connection, on which the origin has chosen HTTP/1.
    Http1(SendRequest<B>),
    /// The origin has chosen HTTP/1 before.
    Http1Speaker,
}

/// One worker thread's client. `B` is the body of the requests that it sends.
pub(crate) struct Client<B> {
    route: Arc<Route>,
    pool: Rc<Pool<B>>,
    sessions: Rc<Sessions>,
    http: http1::Builder,
}

impl<B> Client<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    /// A client without connections. Must be called on the worker's runtime.
    pub(crate) fn new(route: Arc<Route>) -> Self {
        let mut http = http1::Builder::new();
        http.max_headers(MAX_HEADERS).max_buf_size(MAX_BUFFER);
        let pool = Rc::new(Pool::new());
        let sessions = Rc::<Sessions>::default();
        spawn_local(sweep_regularly(Rc::clone(&pool), Rc::clone(&sessions)));
        Self { route, pool, sessions, http }
    }

    /// A client has begun to speak TLS, and will soon ask for something: gets ready for it.
    pub(crate) fn expect_tls(&self) {
        if !self.route.has_roots() {
            let route = Arc::clone(&self.route);
            spawn_local(async move { route.read_roots().await });
        }
    }

    /// Sends `request` to `origin` and waits for the head of the answer. It is written as for
    /// HTTP/1; `speaks` is what the jailed client speaks, and so what the origin is asked for first.
    ///
    /// An origin may close an idle connection just as it is used again. A request that wasn't
    /// sent then goes over another one; of one that may have been, its `copy` does, where there is
    /// one: the caller gives copies only of requests that may be sent twice.
    pub(crate) async fn send(
        &self,
        origin: Origin,
        request: Request<B>,
        copy: impl Fn(&Request<B>) -> Option<Request<B>>,
        speaks: Speaks,
    ) -> Result<Answered<B>, UpstreamError> {
        match speaks {
            Speaks::Http1 => self.send_by_http1(origin, request, copy).await,
            Speaks::Http2 => self.send_by_http2(origin, request, copy).await,
        }
    }

    async fn send_by_http1(
        &self,
        origin: Origin,
        mut request: Request<B>,
        copy: impl Fn(&Request<B>) -> Option<Request<B>>,
    ) -> Result<Answered<B>, UpstreamError> {
        if let Some(proxy) = self.route.forwarder(&origin) {
            proxy.address(&mut request, &origin);
        }
        while let Some(mut sender) = self.pool.take(&origin).await {
            let again = copy(&request);
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => return self.answered(origin, sender, response),
                Err(error) => error,
            };
            request = match error.take_message().or(again) {
                Some(again) => again,
                None => return Err(failed(&origin, error.into_error())),
            };
        }
        if self.sessions.is_needed(&origin) {
            return Box::pin(self.send_by_http2(origin, request, copy)).await;
        }
        match self.connect(&origin).await {
            Ok(sender) => self.send_first(origin, sender, request).await,
            Err(error) if error.is_about_the_offer() => {
                self.sessions.of(&origin).has_insisted();
                Box::pin(self.send_by_http2(origin, request, copy)).await
            }
            Err(error) => Err(error),
        }
    }

    /// Sends the first request over a connection.
    async fn send_first(
        &self,
        origin: Origin,
        mut sender: SendRequest<B>,
        request: Request<B>,
    ) -> Result<Answered<B>, UpstreamError> {
        match sender.send_request(request).await {
            Ok(response) => self.answered(origin, sender, response),
            Err(error) => Err(failed(&origin, error)),
        }
    }

    fn answered(
        &self,
        origin: Origin,
        sender: SendRequest<B>,
        response: Response<Incoming>,
    ) -> Result<Answered<B>, UpstreamError> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(UpstreamError::Switched(origin.authority.host().clone()));
        }
        let wants_credentials = response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        if wants_credentials && self.route.forwarder(&origin).is_some() {
            return Err(ViaError::Credentials.into());
        }
        Ok((response.map(Arriving::Http1), self.lease(origin, sender)))
    }

    pub(super) fn lease(&self, origin: Origin, sender: SendRequest<B>) -> Lease<B> {
        Lease::of_connection(Rc::clone(&self.pool), origin, sender)
    }

    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    pub(super) fn http(&self) -> &http1::Builder {
        &self.http
    }

    async fn connect(&self, origin: &Origin) -> Result<SendRequest<B>, UpstreamError> {
        match self.route.dial(origin, Offer::Http1).await? {
            Connection::Plain(stream) | Connection::Forwarded(stream) => {
                self.start(origin, TokioIo::new(stream)).await
            }
            Connection::Tls(stream) => self.start(origin, TokioIo::new(stream)).await,
        }
    }

    async fn start<T>(&self, origin: &Origin, io: T) -> Result<SendRequest<B>, UpstreamError>
    where
        T: rt::Read + rt::Write + Unpin + 'static,
    {
        let (sender, connection) =
            self.http.handshake(io).await.map_err(|error| failed(origin, error))?;
        spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an upstream connection ended");
            }
        });
        Ok(sender)
    }

    async fn send_by_http2(
        &self,
        origin: Origin,
        mut request: Request<B>,
        copy: impl Fn(&Request<B>) -> Option<Request<B>>,
    ) -> Result<Answered<B>, UpstreamError> {
        let sharing = self.sessions.of(&origin);
        let mut failure = UpstreamError::Unprocessed(origin.authority.host().clone());
        for _ in 0..ATTEMPTS {
            let connection = match self.reach(&origin, &sharing).await? {
                Reached::Http2(connection) => connection,
                Reached::Http1(sender) => return self.send_first(origin, sender, request).await,
                Reached::Http1Speaker => {
                    return Box::pin(self.send_by_http1(origin, request, copy)).await;
                }
            };
            let again = copy(&request);
            request = match connection.send(request, origin.scheme).await {
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
    ) -> Result<Reached<B>, UpstreamError> {
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
        let reached = self.dial_http2(origin, sharing).await;
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
    ) -> Result<Reached<B>, UpstreamError> {
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
                let stream = TokioIo::new(stream);
                return Ok(Reached::Http1(self.start(origin, stream).await?));
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

pub(super) fn failed(origin: &Origin, source: hyper::Error) -> UpstreamError {
    UpstreamError::Http { host: origin.authority.host().clone(), source }.plainly()
}

async fn sweep_regularly<B>(pool: Rc<Pool<B>>, sessions: Rc<Sessions>) {
    let mut ticks = interval(SWEEP);
    loop {
        ticks.tick().await;
        pool.sweep();
        sessions.sweep();
    }
}
