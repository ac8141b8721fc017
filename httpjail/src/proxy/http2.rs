//! Serves HTTP/2 on a connection: every stream is a request, judged once, by itself.

use std::{cell::Cell, future::poll_fn, pin::pin, rc::Rc};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    ext::Protocol,
    server::{Builder, Connection, SendResponse},
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body::Body;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::spawn_local,
    time::timeout,
};

use super::{
    body::{Content, Metered},
    coherence::{self, Incoherent},
    connect,
    connection::Destination,
    ech,
    forward::{Failure, Hop, forward},
    frames::{Counted, Tally},
    headers,
    held::Held,
    hints::Hints,
    patience::{Busy, Watch},
    refuse, serve,
    turn::Turn,
    unjudged,
    websocket::{self, Handshake},
    worker::Worker,
};
use crate::{
    policy::{Authority, Denial, Judging, Permitted},
    record::Exchange,
    streams::{Arriving, Duplex, Pump, Received, Rest},
    upstream::UpstreamError,
};

/// How many requests a client may have under way on one connection.
const STREAMS: u32 = 128;
/// How much of a request's body waits for the origin. It comes over the loopback device, where more
/// makes nothing faster.
const STREAM_WINDOW: u32 = 256 * 1024;
/// How much of all bodies together.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// How much of an answer waits for the client.
const SEND_BUFFER: usize = 128 * 1024;
/// The largest head, counted as RFC 9113, 6.5.2 says; four times as much ends the connection.
const MAX_HEADER_LIST: u32 = 256 * 1024;
/// How many requests a client may take back before they were looked at.
const RESETS: usize = 32;
/// How many broken requests a client may send on one connection.
const BROKEN: usize = 256;

type Asked = Result<Judging<Request<Arriving>>, Incoherent>;
type Judged = Result<Permitted<Request<Arriving>>, Refusal>;

/// Why a request gets no further.
enum Refusal {
    /// It contradicts itself.
    Incoherent(Incoherent),
    /// The rule said no.
    Denied(Denial),
}

/// One connection that speaks HTTP/2.
struct Session {
    worker: Rc<Worker>,
    destination: Destination,
    watch: Rc<Watch>,
    tally: Rc<Tally>,
    /// Whether anything was asked for.
    is_asked: Cell<bool>,
}

/// Why a connection comes to its end.
enum End {
    Closed,
    Broken(h2::Error),
    OutOfPatience,
}

/// Serves requests on `stream` until it ends.
pub(super) async fn serve<S>(worker: Rc<Worker>, destination: Destination, mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let watch = worker.patience.watch();
    let tally = Tally::new();
    let session = Rc::new(Session { worker, destination, watch, tally, is_asked: Cell::default() });
    let io = Counted::new(&mut stream, Rc::clone(&session.tally), Rc::clone(&session.watch));
    let end = tokio::select! {
        biased;
        connection = settings().handshake(io) => match connection {
            Ok(connection) => converse(&session, connection).await,
            Err(error) => End::Broken(error),
        },
        () = session.watch.expired() => End::OutOfPatience,
    };
    session.ended(&end);
    if !matches!(end, End::OutOfPatience) {
        serve::linger(&mut stream).await;
    }
}

fn settings() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_LIST)
        .enable_connect_protocol()
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(Some(BROKEN));
    builder
}

/// Takes requests until the connection ends.
async fn converse<T>(session: &Rc<Session>, mut connection: Connection<T, Bytes>) -> End
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    session.watch.await_request();
    session.tally.begin();
    let closing = Rc::clone(&session.worker.closing);
    let mut closing = pin!(closing.begun());
    let mut goes = false;
    loop {
        let next = poll_fn(|cx| {
            let polled = connection.poll_accept(cx);
            if polled.is_pending() {
                session.refused(session.tally.missing());
            }
            polled
        });
        tokio::select! {
            biased;
            next = next => match next {
                Some(Ok((request, respond))) => session.take(request, respond),
                Some(Err(error)) => return End::Broken(error),
                None => return End::Closed,
            },
            () = &mut closing, if !goes => {
                connection.graceful_shutdown();
                goes = true;
            }
            () = session.watch.expired() => {
                if goes {
                    return End::OutOfPatience;
                }
                // Says that it goes, for the client may be about to ask for something.
                connection.graceful_shutdown();
                goes = true;
            }
        }
    }
}

impl Session {
    /// Judges a request at once, for its client may take it back before anything else happens.
    fn take(self: &Rc<Self>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let busy = self.watch.open_stream();
        self.tally.tell_one();
        self.is_asked.set(true);
        let exchange = self.worker.recorder.begin(&self.destination.client);
        exchange.speaks("h2");
        if request.method() == Method::CONNECT {
            let (parts, body) = request.into_parts();
            let judged = self.judge_connect(parts, &exchange);
            let session = Rc::clone(self);
            spawn_local(async move { session.open(judged, body, respond, busy, exchange).await });
            return;
        }
        let is_head = request.method() == Method::HEAD;
        let expects = request.headers().contains_key(header::EXPECT);
        // One without a length may go on for as long as the answer does: a gRPC call.
        let is_sized = request.headers().contains_key(header::CONTENT_LENGTH);
        let (asked, rest) = self.judge(request, &exchange);
        let session = Rc::clone(self);
        spawn_local(async move {
            let form = Form { is_head, expects, upload: rest.clone().filter(|_| is_sized) };
            session.answer(asked, respond, form, exchange).await;
            if let Some(rest) = rest.and_then(|rest| rest.take()) {
                drain(rest).await;
            }
            drop(busy);
        });
    }

    /// The judgement, or why there is none; it has its record either way. And where the rest of the
    /// body is, if there is a body.
    fn judge(&self, request: Request<RecvStream>, exchange: &Exchange) -> (Asked, Option<Rest>) {
        let (mut parts, body) = request.into_parts();
        headers::join_cookies(&mut parts.headers);
        let has_body = !body.is_end_stream();
        let mut body = Received::new(body, &parts.headers);
        let rest = has_body.then(|| body.keep_rest());
        (self.judge_parts(parts, Arriving::Http2(body), exchange), rest)
    }

    fn judge_parts(&self, parts: Parts, body: Arriving, exchange: &Exchange) -> Asked {
        let facts = coherence::facts(&self.destination, &parts).inspect_err(|cause| {
            let (worker, destination) = (&self.worker, &self.destination);
            unjudged::incoherent(worker, destination, exchange, &parts.method, cause);
        })?;
        Ok(self.worker.gate.judge_request(facts, Request::from_parts(parts, body), exchange))
    }

    /// What a CONNECT opens. It decides nothing itself, and has no record, unless it asks for a
    /// WebSocket.
    fn judge_connect(&self, mut parts: Parts, exchange: &Exchange) -> Result<Opening, Incoherent> {
        let incoherent = |cause| {
            let (worker, destination) = (&self.worker, &self.destination);
            unjudged::incoherent(worker, destination, exchange, &Method::CONNECT, &cause);
            cause
        };
        if parts.headers.contains_key(header::CONTENT_LENGTH) {
            return Err(incoherent(Incoherent::ConnectBody));
        }
        let Some(protocol) = parts.extensions.remove::<Protocol>() else {
            let target = connect::target(&self.destination, &parts);
            return target.map(Opening::Tunnel).map_err(incoherent);
        };
        let handshake = Handshake::by_connect(&protocol, &mut parts).map_err(incoherent)?;
        headers::join_cookies(&mut parts.headers);
        let judging = self.judge_parts(parts, Arriving::nothing(), exchange)?;
        Ok(Opening::WebSocket(Box::new(judging), handshake))
    }

    /// Answers a CONNECT, and serves what it opens.
    async fn open(
        &self,
        asked: Result<Opening, Incoherent>,
        body: RecvStream,
        mut respond: SendResponse<Bytes>,
        busy: Busy,
        exchange: Exchange,
    ) {
        let (response, turn) = match asked {
            Ok(Opening::Tunnel(target)) => {
                (Response::new(Content::empty()), Some(Turn::Connect(target)))
            }
            Ok(Opening::WebSocket(judging, handshake)) => {
                match settle(Ok(*judging), &mut respond).await {
                    Some(Ok(permitted)) => {
                        let opened =
                            self.open_websocket(permitted, &handshake, &mut respond, &exchange);
                        let Some(opened) = opened.await else { return };
                        opened
                    }
                    Some(Err(refusal)) => (refused(refusal), None),
                    None => return,
                }
            }
            Err(cause) => (refused(Refusal::Incoherent(cause)), None),
        };
        let Some(turn) = turn else {
            send(response, respond, Form::default(), exchange).await;
            drain(body).await;
            return drop(busy);
        };
        exchange.answered(response.status().as_u16());
        let head = response.map(drop);
        match respond.send_response(head, false) {
            Ok(stream) => {
                let stream = Duplex::new(body, stream, busy);
                turn.carry_out(&self.worker, &self.destination, stream).await;
            }
            Err(_) => turn.fall_through(&self.worker, &self.destination),
        }
    }

    /// The answer to who asks for a WebSocket, and what it agrees to; `None` when the client has
    /// given up.
    async fn open_websocket(
        &self,
        permitted: Permitted<Request<Arriving>>,
        handshake: &Handshake,
        respond: &mut SendResponse<Bytes>,
        exchange: &Exchange,
    ) -> Option<(Response<Content>, Option<Turn>)> {
        let opened = websocket::open(&self.worker.client, permitted, handshake, exchange);
        let mut opened = pin!(opened);
        let opened = tokio::select! {
            biased;
            opened = &mut opened => opened,
            _ = poll_fn(|cx| respond.poll_reset(cx)) => return None,
        };
        Some(match opened {
            Ok((response, agreed)) => (response, agreed.map(Turn::WebSocket)),
            Err(failure) => (failed(&failure, exchange), None),
        })
    }

    async fn answer(
        &self,
        asked: Asked,
        mut respond: SendResponse<Bytes>,
        form: Form,
        exchange: Exchange,
    ) {
        let Some(judged) = settle(asked, &mut respond).await else { return };
        if form.expects && judged.is_ok() {
            let mut go_on = Response::new(());
            *go_on.status_mut() = StatusCode::CONTINUE;
            // It fails only when the stream is gone.
            let _ = respond.send_informational(go_on);
        }
        let hints = Hints::default();
        let Some(response) = self.response_to(judged, &hints, &mut respond, &exchange).await else {
            return;
        };
        while let Some(hint) = hints.take() {
            let _ = respond.send_informational(hint);
        }
        let Some(response) = response else {
            return respond.send_reset(Reason::REFUSED_STREAM);
        };
        send(response, respond, form, exchange).await;
    }

    /// The response, before which go the `hints` of the origin; `None` when the client has given up.
    async fn response_to(
        &self,
        judged: Judged,
        hints: &Hints,
        respond: &mut SendResponse<Bytes>,
        exchange: &Exchange,
    ) -> Option<Option<Response<Content>>> {
        let mut response = pin!(self.response(judged, hints, exchange));
        loop {
            tokio::select! {
                biased;
                response = &mut response => return Some(response),
                _ = poll_fn(|cx| respond.poll_reset(cx)) => return None,
                // It fails only when the stream is gone.
                hint = hints.next() => drop(respond.send_informational(hint)),
            }
        }
    }

    /// `None` where the client had better ask again itself: the origin has refused the request
    /// unread, and its body isn't here any more.
    async fn response(
        &self,
        judged: Judged,
        hints: &Hints,
        exchange: &Exchange,
    ) -> Option<Response<Content>> {
        let failure = match judged {
            Ok(permitted) => {
                let hop = Hop::Http2(hints);
                match forward(&self.worker.client, permitted, hop, exchange).await {
                    Ok(response) => return Some(response),
                    Err(failure) => failure,
                }
            }
            Err(refusal) => return Some(refused(refusal)),
        };
        match failure {
            Failure::Upstream(UpstreamError::Unprocessed(_)) => {
                failure.tell(exchange);
                tracing::debug!(error = %failure, "a permitted request failed");
                None
            }
            failure => Some(failed(&failure, exchange)),
        }
    }

    /// What was asked for and not judged is refused. Where the client broke the protocol's rules
    /// otherwise, so is that: bytes that are no request.
    fn ended(&self, end: &End) {
        let missing = self.tally.missing_at_end();
        let is_broken = match end {
            End::Closed => false,
            End::OutOfPatience => {
                tracing::debug!("a connection was closed: no request came in time");
                false
            }
            End::Broken(error)
                if error.get_io().is_some_and(|error| ech::is_insisted_on(error)) =>
            {
                return unjudged::hidden(&self.worker, &self.destination);
            }
            End::Broken(error) => {
                tracing::debug!(%error, "a connection of the jail ended");
                error.is_library()
            }
        };
        let unread = missing.max(u64::from(is_broken));
        self.refused(unread);
        if unread == 0 && !self.is_asked.get() {
            match end {
                End::Broken(error) => {
                    unjudged::broken_off(&self.worker, &self.destination, error);
                }
                End::Closed | End::OutOfPatience => {
                    unjudged::nothing_asked(&self.worker, &self.destination);
                }
            }
        }
    }

    /// Records what can't be judged as a request.
    fn refused(&self, count: u64) {
        for _ in 0..count {
            self.is_asked.set(true);
            unjudged::unreadable(&self.worker, &self.destination, &unjudged::BROKEN_HTTP2);
        }
    }
}

/// What was decided; `None` when the client has given up before that.
async fn settle(asked: Asked, respond: &mut SendResponse<Bytes>) -> Option<Judged> {
    let judging = match asked {
        Ok(judging) => judging,
        Err(cause) => return Some(Err(Refusal::Incoherent(cause))),
    };
    tokio::select! {
        biased;
        settled = judging.settle() => Some(settled.map_err(Refusal::Denied)),
        _ = poll_fn(|cx| respond.poll_reset(cx)) => None,
    }
}

/// What a CONNECT opens.
enum Opening {
    /// A way to what is judged inside it.
    Tunnel(Authority),
    WebSocket(Box<Judging<Request<Arriving>>>, Handshake),
}

fn failed(failure: &Failure, exchange: &Exchange) -> Response<Content> {
    failure.tell(exchange);
    tracing::debug!(error = %failure, "a permitted request failed");
    refuse::failed(failure)
}

fn refused(refusal: Refusal) -> Response<Content> {
    let mut response = match refusal {
        Refusal::Incoherent(cause) => refuse::incoherent(&cause),
        Refusal::Denied(denial) => refuse::denied(denial),
    };
    // The other streams are other requests.
    response.headers_mut().remove(header::CONNECTION);
    response
}

/// Sends an answer to its end.
async fn send(
    response: Response<Content>,
    mut respond: SendResponse<Bytes>,
    form: Form,
    exchange: Exchange,
) {
    exchange.answered(response.status().as_u16());
    let (head, body) = response.into_parts();
    let mut head = Response::from_parts(head, ());
    let is_bodiless = form.is_head || body.is_end_stream();
    if !is_bodiless {
        say_length(head.headers_mut(), &body);
    }
    let body = Metered::new(body, exchange);
    let upload = form.upload.filter(Rest::is_open);
    match respond.send_response(head, is_bodiless && upload.is_none()) {
        Ok(stream) => {
            let body = Some(body).filter(|_| !is_bodiless);
            let otherwise = Reason::INTERNAL_ERROR;
            match (upload, body) {
                (Some(rest), body) => Pump::new(Held::new(body, rest), stream, otherwise).await,
                (None, Some(body)) => Pump::new(body, stream, otherwise).await,
                (None, None) => {}
            }
        }
        Err(error) => {
            tracing::debug!(%error, "an answer can't be sent");
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// What a request wants of the form of its answer.
#[derive(Default)]
struct Form {
    is_head: bool,
    expects: bool,
    /// The request's body, before whose end the answer must not end.
    upload: Option<Rest>,
}

/// Reads on for a while what nobody wants any more: some clients don't look at an answer when their
/// stream is reset before they have sent all.
pub(super) async fn drain(mut rest: RecvStream) {
    let reading = async {
        let mut left = serve::LINGER_BYTES;
        while let Some(Ok(data)) = rest.data().await {
            left = left.saturating_sub(data.len() as u64);
            if left == 0 || rest.flow_control().release_capacity(data.len()).is_err() {
                break;
            }
        }
    };
    // What is left then is the client's own affair.
    let _ = timeout(serve::LINGER, reading).await;
}

fn say_length(headers: &mut HeaderMap, body: &Content) {
    if let Some(length) = body.size_hint().exact() {
        headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
}
