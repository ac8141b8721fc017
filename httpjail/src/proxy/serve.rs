//! Serves HTTP/1 on a connection: every request is judged, once, by itself.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    pin::pin,
    rc::Rc,
    time::Duration,
};

use http::{HeaderValue, Method, Request, Response, Version, header, request::Parts};
use http_body::Body;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    body::{Answer, Content},
    coherence::{self, Incoherent},
    connect,
    connection::Destination,
    ech,
    forward::{Failure, Hop, forward},
    headers,
    interim::{Interim, Interposed},
    patience::{Watch, Watched},
    refuse,
    stream::Stream,
    turn::Turn,
    websocket::{self, Handshake},
    worker::Worker,
};
use crate::{
    policy::{Authority, Judging, Permitted},
    streams::{Arriving, Prefixed},
};

const MAX_HEADERS: usize = 512;
const MAX_BUFFER: usize = 512 * 1024;
/// How long and how much a client may still send after the last answer. Closed at once, the
/// connection would be reset, and the client might lose the answer that it hasn't read yet.
pub(super) const LINGER: Duration = Duration::from_secs(2);
pub(super) const LINGER_BYTES: u64 = 1024 * 1024;

/// One connection that speaks HTTP.
struct Session {
    worker: Rc<Worker>,
    destination: Destination,
    watch: Rc<Watch>,
    interim: Rc<Interim>,
    /// The version of the last request.
    version: Cell<Version>,
    /// Whether a request has come.
    has_judged: Cell<bool>,
    /// What the last answer has agreed to.
    turn: RefCell<Option<Turn>>,
}

/// What becomes of a request that gets further.
enum Next {
    Forward(Judging<Request<Arriving>>),
    WebSocket(Judging<Request<Arriving>>, Handshake),
    /// A CONNECT's, whose inside is to come.
    Tunnel,
}

/// The settings for all connections of a worker.
pub(super) fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // `Patience` keeps the time.
    http.header_read_timeout(None).max_headers(MAX_HEADERS).max_buf_size(MAX_BUFFER);
    http
}

/// Serves requests on `stream` until it ends.
pub(super) async fn serve<S>(worker: Rc<Worker>, destination: Destination, stream: S)
where
    S: Stream + 'static,
{
    let session = Rc::new(Session {
        watch: worker.patience.watch(),
        interim: Rc::default(),
        worker,
        destination,
        version: Cell::default(),
        has_judged: Cell::default(),
        turn: RefCell::default(),
    });
    let stream = Watched::new(stream, Rc::clone(&session.watch));
    let mut stream = Interposed::new(stream, Rc::clone(&session.interim));
    let service = service_fn(|request| {
        let session = Rc::clone(&session);
        session.watch.suspend();
        // Here and not in the future, which hyper drops unpolled when the client is gone: whoever
        // sends a request and closes at once has its record, too.
        let judged = session.judge(request.map(Arriving::Http1));
        async move { Ok::<_, Infallible>(session.answer(judged).await) }
    });
    let mut connection = session.worker.http.serve_connection(TokioIo::new(&mut stream), service);
    let closing = Rc::clone(&session.worker.closing);
    let mut closing = pin!(closing.begun());
    let mut closes = false;
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = &mut connection => break Some(outcome),
            () = session.watch.expired() => break None,
            () = &mut closing, if !closes => {
                closes = true;
                // Before its first request hyper would close it unread, but something has come.
                if session.has_judged.get() {
                    Pin::new(&mut connection).graceful_shutdown();
                }
            }
        }
    };
    let unread = connection.into_parts().read_buf;
    let mut stream = stream.into_inner().into_inner();
    match (outcome, session.turn.take()) {
        (Some(Ok(())), None) => linger(&mut stream).await,
        (Some(Ok(())), Some(turn)) => {
            let stream = Prefixed::new(unread, stream);
            let turned = turn.carry_out(&session.worker, &session.destination, stream);
            drop(session);
            turned.await;
        }
        (_, Some(turn)) => turn.fall_through(&session.worker, &session.destination),
        (Some(Err(error)), None) => {
            session.broken(&error, &unread);
            linger(&mut stream).await;
        }
        (None, None) => session.out_of_patience(&unread),
    }
}

impl Session {
    /// What becomes of the request, or why it can't be judged; it has its record either way, but for
    /// a CONNECT, whose inside is to come.
    fn judge(&self, request: Request<Arriving>) -> Result<Next, Incoherent> {
        let (parts, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        if has_body {
            self.watch.expect_body();
        }
        self.version.set(parts.version);
        self.has_judged.set(true);
        let expects = has_body && headers::expects_continue(&parts.headers);
        self.interim.begin(parts.version, expects);
        if parts.method == Method::CONNECT {
            let target = self.target(&parts, has_body).map_err(|cause| self.refused(cause))?;
            self.turn.replace(Some(Turn::Connect(target)));
            return Ok(Next::Tunnel);
        }
        let facts = coherence::facts(&self.destination, &parts);
        let facts = facts.map_err(|cause| self.refused(cause))?;
        // hyper leaves a note with the requests that want to change the protocol.
        let may_turn = !parts.extensions.is_empty() && body.is_end_stream();
        let handshake = may_turn.then(|| Handshake::of(&parts)).flatten();
        let request = Request::from_parts(parts, body);
        let judging = self.worker.gate.judge_request(facts, request);
        Ok(match handshake {
            None => Next::Forward(judging),
            Some(handshake) => Next::WebSocket(judging, handshake),
        })
    }

    fn target(&self, parts: &Parts, has_body: bool) -> Result<Authority, Incoherent> {
        if has_body {
            return Err(Incoherent::ConnectBody);
        }
        connect::target(&self.destination, parts)
    }

    async fn answer(&self, judged: Result<Next, Incoherent>) -> Response<Answer> {
        let answered = match judged {
            Ok(Next::Forward(judging)) => match judging.settle().await {
                Ok(permitted) => self.forward(permitted).await,
                Err(denial) => Ok(refuse::denied(denial)),
            },
            Ok(Next::WebSocket(judging, handshake)) => match judging.settle().await {
                Ok(permitted) => self.open(permitted, &handshake).await,
                Err(denial) => Ok(refuse::denied(denial)),
            },
            Ok(Next::Tunnel) => Ok(Response::new(Content::empty())),
            Err(cause) => Ok(refuse::incoherent(&cause)),
        };
        let mut response = answered.unwrap_or_else(|failure| {
            tracing::debug!(error = %failure, "a permitted request failed");
            refuse::failed(&failure)
        });
        if self.version.get() == Version::HTTP_10 && !response.body().is_sized() {
            // Keeps hyper from telling that the connection stays: its end is that of the body.
            *response.version_mut() = Version::HTTP_10;
        }
        let ends = self.worker.closing.has_begun() && self.turn.borrow().is_none();
        if ends || self.interim.is_body_waiting() {
            // Nobody has asked for the body, so whatever comes behind this answer is not read; or the
            // end has come, and it is not served.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(|content| Answer::new(content, &self.watch, &self.interim))
    }

    async fn forward(
        &self,
        permitted: Permitted<Request<Arriving>>,
    ) -> Result<Response<Content>, Failure> {
        let hop = Hop::Http1(&self.interim, &self.watch);
        forward(&self.worker.client, permitted, hop).await
    }

    async fn open(
        &self,
        permitted: Permitted<Request<Arriving>>,
        handshake: &Handshake,
    ) -> Result<Response<Content>, Failure> {
        let (response, agreed) =
            websocket::open(&self.worker.client, permitted, handshake, &self.watch).await?;
        self.turn.replace(agreed.map(Turn::WebSocket));
        Ok(response)
    }

    /// The connection ended in an error. Bytes that are no request are a refusal, and so is a head
    /// that broke off.
    ///
    /// It ends in order with an incomplete message; where it was reset, what is unread may belong
    /// to the body of a request that has its record.
    fn broken(&self, error: &hyper::Error, unread: &[u8]) {
        tracing::debug!(%error, "a connection of the jail ended");
        if ech::is_insisted_on(error) {
            self.worker.ech.refused();
            return self.worker.recorder.refused_flow("TLS", &self.destination.authority);
        }
        let is_head = error.is_incomplete_message() || !self.watch.is_amid_body();
        if error.is_parse() || (is_head && begins_a_request(unread)) {
            self.record_refusal();
        }
    }

    /// No request came in time: refused, if one had begun.
    fn out_of_patience(&self, unread: &[u8]) {
        tracing::debug!("a connection was closed: no request came in time");
        if begins_a_request(unread) {
            self.record_refusal();
        }
    }

    fn refused(&self, cause: Incoherent) -> Incoherent {
        self.record_refusal();
        cause
    }

    /// Records what can't be judged as a request.
    fn record_refusal(&self) {
        self.worker.recorder.refused_flow("HTTP", &self.destination.authority);
    }
}

/// Whether `unread` is more than the empty lines that may stand before a request (RFC 9112, 2.2).
fn begins_a_request(unread: &[u8]) -> bool {
    unread.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
}

/// Ends the connection on our side, and reads what the client still sends, for a while.
pub(super) async fn linger<S: Stream>(stream: &mut S) {
    let end = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // Whether the client ended in good order or not makes no difference any more.
    let _ = timeout(LINGER, end).await;
}
