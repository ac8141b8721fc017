//! Requests after whose answer a connection, or a stream of one, speaks another protocol.

use bytes::Bytes;
use h2::{RecvStream, SendStream, ext::Protocol};
use http::{Request, Response, StatusCode, header, request::Parts};

use super::{
    Client, Dial, Lease, OnInterim, Origin, Speaks, UpstreamError,
    client::{ATTEMPTS, Outgoing, Reached, Told, failed, failed_by_http2},
    dial::Connection,
    http1::{Failed, exchange},
    http2,
    trust::Offer,
};
use crate::streams::{
    Arriving, Boxed, Duplex, Prefixed, Received,
    http1::{Http1Connection, Transport},
};

/// What an origin said to the wish for another protocol.
pub(crate) enum Switch {
    /// An ordinary answer.
    Declined(Response<Arriving>, Lease),
    /// A 101 by HTTP/1, and the connection behind it.
    Http1(Response<()>, Boxed),
    /// Its agreement by HTTP/2, and the stream behind it.
    Http2(Response<()>, Boxed),
}

/// How an origin is asked.
enum Way {
    /// It has agreed or declined by HTTP/2.
    Asked(Switch),
    /// It is to be asked by HTTP/1, over this connection if there is one.
    Http1(Option<Http1Connection>),
}

impl Client {
    /// Sends a request that asks for a WebSocket, written as for HTTP/1 and without a body: over a
    /// connection of its own by HTTP/1, or a stream by HTTP/2 (RFC 8441). The jailed client `speaks`
    /// what the origin is asked for first. `interim` is told of answers before the one that counts.
    pub(crate) async fn switch<B: Outgoing>(
        &self,
        origin: Origin,
        request: Request<B>,
        speaks: Speaks,
        (interim, dial): Told<'_>,
    ) -> Result<Switch, UpstreamError> {
        let connection = match speaks {
            Speaks::Http1 => None,
            Speaks::Http2 => match Box::pin(self.switch_by_http2(&origin, &request, dial)).await? {
                Way::Asked(switch) => return Ok(switch),
                Way::Http1(connection) => connection,
            },
        };
        let connected = match connection {
            Some(connection) => Ok(connection),
            None => dial.time(self.dial_switchable(&origin)).await,
        };
        match connected {
            Ok(connection) => self.switch_by_http1(origin, request, connection, interim).await,
            Err(error) if speaks == Speaks::Http1 && error.is_about_the_offer() => {
                self.sessions().of(&origin).has_insisted();
                match Box::pin(self.switch_by_http2(&origin, &request, dial)).await? {
                    Way::Asked(switch) => Ok(switch),
                    Way::Http1(_) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn switch_by_http1<B: Outgoing>(
        &self,
        origin: Origin,
        request: Request<B>,
        connection: Http1Connection,
        interim: &dyn OnInterim,
    ) -> Result<Switch, UpstreamError> {
        // Proxies that take requests one by one seldom pass such a one on.
        let is_forwarded = self.route().forwarder(&origin).is_some();
        let asked = exchange(connection, request, interim).await;
        let response = asked.map_err(|Failed { error, .. }| failed(&origin, error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // Other requests to this origin are written for the proxy.
            let lease = if is_forwarded { Lease::Unshared } else { self.lease(origin) };
            return Ok(Switch::Declined(response.map(Arriving::Answer), lease));
        }
        let (head, body) = response.into_parts();
        let (transport, unread) = body.into_transport();
        let stream = Box::new(Prefixed::new(unread.freeze(), transport));
        Ok(Switch::Http1(Response::from_parts(head, ()), stream))
    }

    /// By HTTP/2, unless the origin takes it by HTTP/1 alone.
    async fn switch_by_http2<B>(
        &self,
        origin: &Origin,
        request: &Request<B>,
        dial: &Dial,
    ) -> Result<Way, UpstreamError> {
        let sharing = self.sessions().of(origin);
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            let connection = match self.reach(origin, &sharing, dial).await? {
                Reached::Http2(connection) => connection,
                Reached::Http1(connection) => return Ok(Way::Http1(Some(connection))),
                Reached::Http1Speaker => return Ok(Way::Http1(None)),
            };
            if !connection.takes_protocols().await {
                return Ok(Way::Http1(None));
            }
            let parts = websocket_parts(request);
            let protocol = Protocol::from_static("websocket");
            match connection.connect(parts, origin.scheme, protocol).await {
                Ok((response, stream, place)) => {
                    return Ok(Way::Asked(Switch::by_http2(response, stream, place)));
                }
                Err(error) if http2::wants_http1(&error) => return Ok(Way::Http1(None)),
                // The connection had just gone; it asked for nothing that can't be asked again.
                Err(error) if http2::is_of_the_connection(&error) => failure = Some(error),
                Err(error) => return Err(failed_by_http2(origin, error)),
            }
        }
        failure.map_or(Ok(Way::Http1(None)), |error| Err(failed_by_http2(origin, error)))
    }

    async fn dial_switchable(&self, origin: &Origin) -> Result<Http1Connection, UpstreamError> {
        let transport = match self.route().dial_through(origin, Offer::Http1).await? {
            Connection::Plain(stream) | Connection::Forwarded(stream) => Transport::Plain(stream),
            Connection::Tls(stream) => Transport::Tls(stream),
        };
        Ok(Http1Connection::new(transport))
    }
}

impl Switch {
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
