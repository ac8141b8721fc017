//! Serves HTTP/1 on a connection: every request is judged, once, by itself.

use std::{convert::Infallible, rc::Rc, time::Duration};

use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::{
    body::Answer,
    coherence::{self, Incoherent},
    connection::Destination,
    forward::forward,
    patience::{Watch, Watched},
    refuse,
    worker::Worker,
};
use crate::policy::{Denial, Permitted};

const MAX_HEADERS: usize = 512;
const MAX_BUFFER: usize = 512 * 1024;
/// How long and how much a client may still send after the last answer. Closed at once, the
/// connection would be reset, and the client might lose the answer that it hasn't read yet.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 1024 * 1024;

/// One connection that speaks HTTP.
struct Session {
    worker: Rc<Worker>,
    destination: Destination,
    watch: Rc<Watch>,
}

/// Why a request gets no further.
enum Refusal {
    /// It contradicts itself.
    Incoherent(Incoherent),
    /// The rule said no.
    Denied(Denial),
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
    S: AsyncRead + AsyncWrite + Unpin,
{
    let watch = worker.patience.watch();
    let mut stream = Watched::new(stream, Rc::clone(&watch));
    let session = Rc::new(Session { worker, destination, watch });
    let service = service_fn(|request| {
        let session = Rc::clone(&session);
        session.watch.suspend();
        // Here and not in the future, which hyper drops unpolled when the client is gone: whoever
        // sends a request and closes at once has its record, too.
        let judged = session.judge(request);
        async move { Ok::<_, Infallible>(session.answer(judged).await) }
    });
    let mut connection = session.worker.http.serve_connection(TokioIo::new(&mut stream), service);
    let outcome = tokio::select! {
        biased;
        outcome = &mut connection => Some(outcome),
        () = session.watch.expired() => None,
    };
    let unread = connection.into_parts().read_buf;
    match outcome {
        Some(Ok(())) => {}
        Some(Err(error)) => session.broken(&error, &unread),
        None => return session.out_of_patience(&unread),
    }
    linger(stream.get_mut()).await;
}

impl Session {
    /// The permit, or why there is none; recorded either way.
    fn judge(&self, request: Request<Incoming>) -> Result<Permitted<Request<Incoming>>, Refusal> {
        let (parts, body) = request.into_parts();
        if !body.is_end_stream() {
            self.watch.expect_body();
        }
        let facts = coherence::facts(&self.destination, &parts).map_err(|cause| {
            self.refused();
            Refusal::Incoherent(cause)
        })?;
        let request = Request::from_parts(parts, body);
        self.worker.gate.judge(facts, request).map_err(Refusal::Denied)
    }

    async fn answer(
        &self,
        judged: Result<Permitted<Request<Incoming>>, Refusal>,
    ) -> Response<Answer> {
        let response = match judged {
            Ok(permitted) => match forward(&self.worker.client, permitted, &self.watch).await {
                Ok(response) => response,
                Err(failure) => {
                    tracing::debug!(error = %failure, "a permitted request failed");
                    refuse::failed(&failure)
                }
            },
            Err(Refusal::Incoherent(cause)) => refuse::incoherent(&cause),
            Err(Refusal::Denied(denial)) => refuse::denied(denial),
        };
        response.map(|content| Answer::new(content, Rc::clone(&self.watch)))
    }

    /// The connection ended in an error. Bytes that are no request are a refusal, and so is a head
    /// that broke off.
    ///
    /// It ends in order with an incomplete message; where it was reset, what is unread may belong
    /// to the body of a request that has its record.
    fn broken(&self, error: &hyper::Error, unread: &[u8]) {
        tracing::debug!(%error, "a connection of the jail ended");
        let is_head = error.is_incomplete_message() || !self.watch.is_amid_body();
        if error.is_parse() || (is_head && begins_a_request(unread)) {
            self.refused();
        }
    }

    /// No request came in time: refused, if one had begun.
    fn out_of_patience(&self, unread: &[u8]) {
        tracing::debug!("a connection was closed: no request came in time");
        if begins_a_request(unread) {
            self.refused();
        }
    }

    /// Records what can't be judged as a request.
    fn refused(&self) {
        self.worker.recorder.refused_flow("HTTP", &self.destination.authority);
    }
}

/// Whether `unread` is more than the empty lines that may stand before a request (RFC 9112, 2.2).
fn begins_a_request(unread: &[u8]) -> bool {
    unread.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
}

/// Ends the connection on our side, and reads what the client still sends, for a while.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let end = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // Whether the client ended in good order or not makes no difference any more.
    let _ = timeout(LINGER, end).await;
}
