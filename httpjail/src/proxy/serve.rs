//! Serves HTTP/1 on a connection: every request is judged, once, by itself.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, request::Parts};
use http_body::Body;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    body::{Content, Metered},
    coherence::{self, Incoherent},
    connect,
    connection::Destination,
    ech,
    forward::{Failure, Hop, forward},
    headers,
    http1::{self, Asked, Broken, Head, Wire},
    interim::Interim,
    patience::Watch,
    refuse,
    stream::Stream,
    turn::Turn,
    unjudged,
    websocket::{self, Handshake},
    worker::Worker,
};
use crate::{
    policy::{Authority, Judging, Permitted},
    record::Exchange,
    streams::{
        Arriving, Prefixed,
        http1::{Length, Unsent, Writing},
    },
};

/// How long and how much a client may still send after the last answer. Closed at once, the
/// connection would be reset, and the client might lose the answer that it hasn't read yet.
pub(super) const LINGER: Duration = Duration::from_secs(2);
pub(super) const LINGER_BYTES: u64 = 1024 * 1024;

/// One connection that speaks HTTP.
struct Session {
    worker: Rc<Worker>,
    destination: Destination,
    watch: Rc<Watch>,
    interim: Interim,
    /// What the last answer has agreed to.
    turn: RefCell<Option<Turn>>,
    /// Whether anything was asked for.
    is_asked: Cell<bool>,
}

/// What becomes of a request that gets further.
enum Next {
    Forward(Judging<Request<Arriving>>),
    WebSocket(Judging<Request<Arriving>>, Handshake),
    /// A CONNECT's, whose inside is to come.
    Tunnel,
}

/// Why no further request is served on a connection.
enum End {
    /// It has come to its end in order.
    Closed,
    /// What follows is no HTTP.
    Turned,
    /// No request came in time.
    OutOfPatience,
    /// No request can be read.
    Broken(Broken),
    /// An answer got stuck.
    Unsent(Unsent),
}

/// Serves requests on `stream` until it ends.
pub(super) async fn serve<S>(worker: Rc<Worker>, destination: Destination, stream: S)
where
    S: Stream + 'static,
{
    let session = Session {
        watch: worker.patience.watch(),
        interim: Interim::default(),
        worker,
        destination,
        turn: RefCell::default(),
        is_asked: Cell::default(),
    };
    let wire = Wire::new(stream, Rc::clone(&session.watch));
    let end = session.converse(&wire).await;
    let is_between_requests = wire.is_between_requests();
    let Some((mut stream, unread)) = wire.take() else { return };
    drop(wire);
    let turn = session.turn.take();
    match (end, turn) {
        (End::Turned, Some(turn)) => {
            let stream = Prefixed::new(unread, stream);
            let turned = turn.carry_out(&session.worker, &session.destination, stream);
            drop(session);
            return turned.await;
        }
        (_, Some(turn)) => return turn.fall_through(&session.worker, &session.destination),
        (End::OutOfPatience, None) => {
            return session.out_of_patience(is_between_requests && begins_a_request(&unread));
        }
        (End::Closed | End::Turned, None) => session.ended(),
        (End::Unsent(unsent), None) => {
            if let Unsent::Body(error) = unsent {
                tracing::debug!(%error, "an answer to the jail broke off");
            }
        }
        (End::Broken(broken), None) => {
            let has_begun = is_between_requests && begins_a_request(&unread);
            if let Some(answer) = session.broken(&broken, has_begun) {
                // Whether the client hears it makes no difference any more.
                let _ = timeout(LINGER, stream.write_all(&answer)).await;
            }
        }
    }
    linger(&mut stream).await;
}

impl Session {
    /// Serves one request after the other.
    async fn converse<S: Stream + 'static>(&self, wire: &Rc<Wire<S>>) -> End {
        loop {
            let head = match poll_fn(|cx| self.poll_request(cx, wire)).await {
                Ok(head) => head,
                Err(end) => return end,
            };
            self.watch.suspend();
            let is_last = match self.exchange(wire, head).await {
                Ok(keeps) => !keeps,
                Err(end) => return end,
            };
            if self.turn.borrow().is_some() {
                return End::Turned;
            }
            self.watch.await_request();
            if let Err(end) = poll_fn(|cx| self.poll_body_end(cx, wire)).await {
                return end;
            }
            if is_last {
                return End::Closed;
            }
            if wire.has_unread() {
                self.watch.begin_head();
            }
        }
    }

    /// The next request's head.
    fn poll_request<S: Stream + 'static>(
        &self,
        cx: &mut Context<'_>,
        wire: &Wire<S>,
    ) -> Poll<Result<Head, End>> {
        if let Poll::Ready(head) = wire.poll_head(cx) {
            return Poll::Ready(match head {
                Ok(Some(head)) => Ok(head),
                Ok(None) => Err(End::Closed),
                Err(broken) => Err(End::Broken(broken)),
            });
        }
        if self.watch.poll_expired(cx).is_ready() {
            return Poll::Ready(Err(End::OutOfPatience));
        }
        // Before the first request something has come already.
        let is_idle = self.is_asked.get() && !wire.has_unread();
        match is_idle && self.worker.closing.has_begun() {
            true => Poll::Ready(Err(End::Closed)),
            false => Poll::Pending,
        }
    }

    /// Waits for the end of a request's body, which the origin may take behind its answer.
    fn poll_body_end<S: Stream + 'static>(
        &self,
        cx: &mut Context<'_>,
        wire: &Wire<S>,
    ) -> Poll<Result<(), End>> {
        if wire.poll_body_end(cx).is_ready() {
            return Poll::Ready(match wire.skip_given_up(cx) {
                true => Ok(()),
                false => Err(End::Closed),
            });
        }
        self.watch.poll_expired(cx).map(|()| Err(End::OutOfPatience))
    }

    /// Judges a request and answers it; tells whether the client may ask for more.
    async fn exchange<S: Stream + 'static>(
        &self,
        wire: &Rc<Wire<S>>,
        head: Head,
    ) -> Result<bool, End> {
        let Head { request, framing, keeps, expects, upgrades } = head;
        let asked = Asked::by(&request);
        let body = wire.begin_body(framing, expects);
        // Before anything is waited for: whoever sends a request and closes at once has its record.
        let judged = self.judge(request.map(|()| body), upgrades);
        let mut answering = pin!(async {
            let response = self.answer(judged).await;
            self.send(wire, response, &asked, keeps).await
        });
        let _over = Over(&self.interim);
        poll_fn(|cx| {
            if let Poll::Ready(sent) = answering.as_mut().poll(cx) {
                return Poll::Ready(sent.map_err(End::Unsent));
            }
            wire.poll_aside(cx, &self.interim).map(|broken| Err(End::Broken(broken)))
        })
        .await
    }

    /// Sends an answer to its end; tells whether the client may ask for more.
    async fn send<S: Stream + 'static>(
        &self,
        wire: &Rc<Wire<S>>,
        response: Response<Metered>,
        asked: &Asked,
        keeps: bool,
    ) -> Result<bool, Unsent> {
        let (answer, body) = response.into_parts();
        let mut head = self.worker.scratch.take();
        wire.begin_answer(&mut head, &self.interim);
        let keeps = keeps && poll_fn(|cx| Poll::Ready(wire.skip_given_up(cx))).await;
        let written = http1::write(&mut head, &answer, &body, asked, keeps);
        let length = written.length.unwrap_or(Length::Known(0));
        let mut writing = Writing::new(wire.writer(), head, length).with_trailers(written.trailers);
        match written.length {
            Some(_) => writing.send(body).await?,
            None => {
                drop(body);
                writing.send_head().await?;
            }
        }
        self.worker.scratch.give(writing.into_buffer());
        Ok(written.keeps)
    }

    /// What becomes of the request, or why it can't be judged; it has its record either way, but for
    /// a CONNECT, whose inside is to come.
    fn judge(
        &self,
        request: Request<Arriving>,
        upgrades: bool,
    ) -> (Exchange, Result<Next, Incoherent>) {
        self.is_asked.set(true);
        let exchange = self.worker.recorder.begin(&self.destination.client);
        exchange.speaks(if request.version() == Version::HTTP_10 {
            "http/1.0"
        } else {
            "http/1.1"
        });
        let next = self.judge_for(&exchange, request, upgrades);
        (exchange, next)
    }

    fn judge_for(
        &self,
        exchange: &Exchange,
        request: Request<Arriving>,
        upgrades: bool,
    ) -> Result<Next, Incoherent> {
        let (mut parts, body) = request.into_parts();
        headers::withdraw_listed(&mut parts.headers);
        let has_body = !body.is_end_stream();
        let expects = has_body && headers::expects_continue(&parts.headers);
        self.interim.begin(parts.version, expects);
        if parts.method == Method::CONNECT {
            let target = self.target(&parts, has_body);
            let target = target.map_err(|cause| self.refused(exchange, &parts, cause))?;
            self.turn.replace(Some(Turn::Connect(target)));
            return Ok(Next::Tunnel);
        }
        let facts = coherence::facts(&self.destination, &parts);
        let facts = facts.map_err(|cause| self.refused(exchange, &parts, cause))?;
        let may_turn = upgrades && !has_body;
        let handshake = may_turn.then(|| Handshake::of(&parts)).flatten();
        let request = Request::from_parts(parts, body);
        let judging = self.worker.gate.judge_request(facts, request, exchange);
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

    async fn answer(
        &self,
        (exchange, judged): (Exchange, Result<Next, Incoherent>),
    ) -> Response<Metered> {
        let answered = match judged {
            Ok(Next::Forward(judging)) => match judging.settle().await {
                Ok(permitted) => self.forward(permitted, &exchange).await,
                Err(denial) => Ok(refuse::denied(denial)),
            },
            Ok(Next::WebSocket(judging, handshake)) => match judging.settle().await {
                Ok(permitted) => self.open(permitted, &handshake, &exchange).await,
                Err(denial) => Ok(refuse::denied(denial)),
            },
            Ok(Next::Tunnel) => Ok(Response::new(Content::empty())),
            Err(cause) => Ok(refuse::incoherent(&cause)),
        };
        let mut response = answered.unwrap_or_else(|failure| {
            tracing::debug!(error = %failure, "a permitted request failed");
            failure.tell(&exchange);
            refuse::failed(&failure)
        });
        let ends = self.worker.closing.has_begun() && self.turn.borrow().is_none();
        if ends || self.interim.is_body_waiting() {
            // Nobody has asked for the body, so whatever comes behind this answer is not read; or the
            // end has come, and it is not served.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        exchange.answered(response.status().as_u16());
        // A WebSocket's goes on behind its answer.
        let is_whole = response.status() != StatusCode::SWITCHING_PROTOCOLS;
        let exchange = if is_whole { exchange } else { Exchange::none() };
        response.map(|content| Metered::new(content, exchange))
    }

    async fn forward(
        &self,
        permitted: Permitted<Request<Arriving>>,
        exchange: &Exchange,
    ) -> Result<Response<Content>, Failure> {
        let hop = Hop::Http1(&self.interim);
        forward(&self.worker.client, permitted, hop, exchange).await
    }

    async fn open(
        &self,
        permitted: Permitted<Request<Arriving>>,
        handshake: &Handshake,
        exchange: &Exchange,
    ) -> Result<Response<Content>, Failure> {
        let opened = websocket::open(&self.worker.client, permitted, handshake, exchange);
        let (response, agreed) = opened.await?;
        self.turn.replace(agreed.map(Turn::WebSocket));
        Ok(response)
    }

    /// The connection broke. Bytes that are no request are a refusal, and so is a head that broke off,
    /// if one `has_begun`; gives what the client is answered.
    fn broken(&self, broken: &Broken, has_begun: bool) -> Option<Vec<u8>> {
        tracing::debug!(error = %broken, "a connection of the jail ended");
        let (worker, destination) = (&self.worker, &self.destination);
        match broken {
            Broken::Head(error) => {
                unjudged::unreadable(worker, destination, error);
                return Some(http1::refusal(error));
            }
            Broken::Io(error) if ech::is_insisted_on(error) => {
                unjudged::hidden(worker, destination);
            }
            broken if has_begun => unjudged::unreadable(worker, destination, broken),
            Broken::Io(error) if !self.is_asked.get() => {
                unjudged::broken_off(worker, destination, error);
            }
            Broken::Incomplete | Broken::Io(_) => {}
        }
        None
    }

    /// The connection ended in order.
    fn ended(&self) {
        if !self.is_asked.get() {
            unjudged::nothing_asked(&self.worker, &self.destination);
        }
    }

    /// No request came in time: refused, if one had begun.
    fn out_of_patience(&self, has_begun: bool) {
        tracing::debug!("a connection was closed: no request came in time");
        if has_begun {
            return unjudged::unreadable(&self.worker, &self.destination, &unjudged::TOO_SLOW);
        }
        self.ended();
    }

    fn refused(&self, exchange: &Exchange, parts: &Parts, cause: Incoherent) -> Incoherent {
        unjudged::incoherent(&self.worker, &self.destination, exchange, &parts.method, &cause);
        cause
    }
}

/// Tells when it is dropped that a request has had its answer, or gets none.
struct Over<'a>(&'a Interim);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.end();
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
