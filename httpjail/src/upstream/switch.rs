//! Requests after whose answer a connection, or a stream of one, speaks another protocol.

use h2::{RecvStream, SendStream, ext::Protocol};
use http::{header, request::Parts};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Bytes},
    client::conn::http1::SendRequest,
    rt,
};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use super::{
    Client, Lease, Origin, Speaks, UpstreamError,
    client::{ATTEMPTS, Reached, failed, failed_by_http2},
    dial::Connection,
    http2,
    trust::Offer,
};
use crate::streams::{Arriving, BodyError, Boxed, Duplex, Received};

/// What an origin said to the wish for another protocol.
pub(crate) enum Switch<B> {
    /// An ordinary answer.
    Declined(Response<Arriving>, Lease<B>),
    /// A 101 by HTTP/1, and the connection behind it.
    Http1(Response<()>, Boxed),
    /// Its agreement by HTTP/2, and the stream behind it.
    Http2(Response<()>, Boxed),
}

impl<B> Client<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    /// Sends a request that asks for a WebSocket, written as for HTTP/1 and without a body: over a
    /// connection of its own by HTTP/1, or a stream by HTTP/2 (RFC 8441). The jailed client `speaks`
    /// what the origin is asked for first.
    pub(crate) async fn switch(
        &self,
        origin: Origin,
        request: Request<B>,
        speaks: Speaks,
    ) -> Result<Switch<B>, UpstreamError> {
        if speaks == Speaks::Http2
            && let Some(switch) = Box::pin(self.switch_by_http2(&origin, &request)).await?
        {
            return Ok(switch);
        }
        match self.dial_switchable(&origin).await {
            Ok(sender) => self.switch_by_http1(origin, request, sender).await,
            Err(error) if speaks == Speaks::Http1 && error.is_about_the_offer() => {
                self.sessions().of(&origin).has_insisted();
                let switch = Box::pin(self.switch_by_http2(&origin, &request)).await?;
                switch.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn switch_by_http1(
        &self,
        origin: Origin,
        request: Request<B>,
        mut sender: SendRequest<B>,
    ) -> Result<Switch<B>, UpstreamError> {
        // Proxies that take requests one by one seldom pass such a one on.
        let is_forwarded = self.route().forwarder(&origin).is_some();
        let asked = sender.send_request(request).await;
        let mut response = asked.map_err(|error| failed(&origin, error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // Other requests to this origin are written for the proxy.
            let lease = match is_forwarded {
                true => Lease::unshared(origin, sender),
                false => self.lease(origin, sender),
            };
            return Ok(Switch::Declined(response.map(Arriving::Http1), lease));
        }
        let switched = hyper::upgrade::on(&mut response).await;
        let upgraded = switched.map_err(|error| failed(&origin, error))?;
        Ok(Switch::Http1(response.map(drop), Box::new(TokioIo::new(upgraded))))
    }

    /// `None`: the origin doesn't do so by HTTP/2, or takes it by HTTP/1 alone.
    async fn switch_by_http2(
        &self,
        origin: &Origin,
        request: &Request<B>,
    ) -> Result<Option<Switch<B>>, UpstreamError> {
        let sharing = self.sessions().of(origin);
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            let connection = match self.reach(origin, &sharing).await? {
                Reached::Http2(connection) => connection,
                Reached::Http1(sender) => {
                    // It can't be switched, but serves others.
                    self.lease(origin.clone(), sender).finish();
                    return Ok(None);
                }
                Reached::Http1Speaker => return Ok(None),
            };
            if !connection.takes_protocols().await {
                return Ok(None);
            }
            let parts = websocket_parts(request);
            let protocol = Protocol::from_static("websocket");
            match connection.connect(parts, origin.scheme, protocol).await {
                Ok((response, stream, place)) => {
                    return Ok(Some(Switch::by_http2(response, stream, place)));
                }
                Err(error) if http2::wants_http1(&error) => return Ok(None),
                // The connection had just gone; it asked for nothing that can't be asked again.
                Err(error) if http2::is_of_the_connection(&error) => failure = Some(error),
                Err(error) => return Err(failed_by_http2(origin, error)),
            }
        }
        failure.map_or(Ok(None), |error| Err(failed_by_http2(origin, error)))
    }

    async fn dial_switchable(&self, origin: &Origin) -> Result<SendRequest<B>, UpstreamError> {
        match self.route().dial_through(origin, Offer::Http1).await? {
            Connection::Plain(stream) | Connection::Forwarded(stream) => {
                self.start_switchable(origin, stream).await
            }
            Connection::Tls(stream) => self.start_switchable(origin, stream).await,
        }
    }

    async fn start_switchable<T>(
        &self,
        origin: &Origin,
        stream: T,
    ) -> Result<SendRequest<B>, UpstreamError>
    where
        TokioIo<T>: rt::Read + rt::Write,
        T: Unpin + Send + 'static,
    {
        let handshake = self.http().handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| failed(origin, error))?;
        spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "an upstream connection ended");
            }
        });
        Ok(sender)
    }
}

impl<B> Switch<B> {
    fn by_http2(
        response: Response<RecvStream>,
        mut stream: SendStream<Bytes>,
        place: http2::Place,
    ) -> Self {
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            let stream = Box::new(Duplex::new(body, stream, place));
            return Self::Http2(Response::from_parts(head, ()), stream);
        }
        // It fails only when the stream is gone.
        let _ = stream.send_data(Bytes::new(), true);
        let body = Arriving::Http2(Received::new(body, &head.headers));
        Self::Declined(Response::from_parts(head, body), Lease::Http2(place))
    }
}

/// The head of a request for a WebSocket, without the key, of which there is none over HTTP/2 (RFC
/// 8441, 5). The request may have to be sent another way.
fn websocket_parts<B>(request: &Request<B>) -> Parts {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.headers_mut() = request.headers().clone();
    head.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
    head.into_parts().0
}
