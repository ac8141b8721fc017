//! WebSocket over HTTP/1.1 (RFC 6455) and HTTP/2 (RFC 8441): judged as the GET that opens it, opaque
//! from the origin's agreement on. Client and origin needn't speak the same version of HTTP.
//!
//! It is the only protocol that a connection, or a stream, may turn into. Any other that a client offers is left
//! out of the request, and the request is an ordinary one (RFC 9110, 7.8).

use aws_lc_rs::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, digest},
    rand::fill,
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use h2::ext::Protocol;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
    request::Parts,
};

use super::{
    body::{Content, Outgoing, Relay},
    coherence::Incoherent,
    forward::{Failure, Prepared, prepare},
    headers,
    stream::Boxed,
};
use crate::{
    policy::Permitted,
    record::Exchange,
    streams::Arriving,
    upstream::{Client, Dial, Speaks, Switch, UpstreamError},
};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
/// What is hashed behind the key (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request for a WebSocket.
pub(super) struct Handshake {
    /// What an origin that agrees by HTTP/1 must say.
    accept: String,
    /// The key where the client has sent none, as it came by HTTP/2.
    key: Option<HeaderValue>,
}

/// A WebSocket that the origin has agreed to.
pub(super) struct Agreed {
    pub(super) origin: Boxed,
    /// How many bytes may still go to the origin.
    pub(super) left: Option<u64>,
    /// Whose record is written when it ends.
    pub(super) exchange: Exchange,
}

impl Handshake {
    /// What a request without a body asks for, if it is a proper handshake. All else that would
    /// change the protocol is no business of this proxy's.
    pub(super) fn of(parts: &Parts) -> Option<Self> {
        let headers = &parts.headers;
        let is_get = parts.method == Method::GET && parts.version == Version::HTTP_11;
        let asks = headers::lists(headers, header::CONNECTION, b"upgrade")
            && headers::lists(headers, header::UPGRADE, WEBSOCKET.as_bytes());
        if !is_get || !asks || only(headers, header::SEC_WEBSOCKET_VERSION)? != "13" {
            return None;
        }
        let key = only(headers, header::SEC_WEBSOCKET_KEY)?;
        if BASE64.decode(key.as_bytes()).ok()?.len() != 16 {
            return None;
        }
        Some(Self { accept: accept(key), key: None })
    }

    /// What a CONNECT for `protocol` by HTTP/2 asks for, and the request as it is judged: the GET that
    /// it would be by HTTP/1.
    pub(super) fn by_connect(protocol: &Protocol, parts: &mut Parts) -> Result<Self, Incoherent> {
        if !protocol.as_ref().eq_ignore_ascii_case(WEBSOCKET.as_bytes()) {
            return Err(Incoherent::Protocol);
        }
        if only(&parts.headers, header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13")
        {
            return Err(Incoherent::WebSocketVersion);
        }
        parts.method = Method::GET;
        let mut nonce = [0; 16];
        fill(&mut nonce).expect("the kernel has randomness");
        let key = HeaderValue::try_from(BASE64.encode(nonce)).expect("base64 is visible ASCII");
        Ok(Self { accept: accept(&key), key: Some(key) })
    }

    /// Adds what the origin is asked by.
    fn ask(&self, headers: &mut HeaderMap) {
        belongs_to_hop(headers);
        if let Some(key) = &self.key {
            headers.insert(header::SEC_WEBSOCKET_KEY, key.clone());
        }
    }

    /// The answer to the client, from an origin's that agrees.
    fn agreement(&self, origins: Response<()>) -> Response<Content> {
        let mut response = Response::new(Content::empty());
        *response.headers_mut() = origins.into_parts().0.headers;
        let headers = response.headers_mut();
        headers::prepare_response(headers);
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        if self.key.is_none() {
            belongs_to_hop(headers);
            let accept = HeaderValue::try_from(&self.accept).expect("base64 is visible ASCII");
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        response
    }

    /// Whether the origin agrees to this handshake, and to nothing else.
    fn is_met_by(&self, headers: &HeaderMap) -> bool {
        let is_websocket = only(headers, header::UPGRADE)
            .is_some_and(|token| token.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()));
        is_websocket
            && headers::lists(headers, header::CONNECTION, b"upgrade")
            && only(headers, header::SEC_WEBSOCKET_ACCEPT)
                .is_some_and(|accept| *accept == *self.accept)
    }
}

/// Asks the origin for the WebSocket, and gives back its answer: an ordinary one, if it doesn't
/// agree.
pub(super) async fn open(
    client: &Client,
    permitted: Permitted<Request<Arriving>>,
    handshake: &Handshake,
    exchange: &Exchange,
) -> Result<(Response<Content>, Option<Agreed>), Failure> {
    let Prepared { origin, speaks, request, left } =
        prepare(permitted, |headers| handshake.ask(headers))?;
    let host = origin.authority.host().clone();
    let (parts, body) = request.into_parts();
    let body = Outgoing::new(body, left, exchange);
    let dial = Dial::default();
    let request = Request::from_parts(parts, body);
    let answer = client.switch(origin, request, speaks, (&(), &dial)).await;
    exchange.connected(dial.took());
    let answer = answer?;
    exchange.first_byte();
    match answer {
        // By HTTP/2 it would be an agreement.
        Switch::Declined(response, _)
            if speaks == Speaks::Http2 && response.status().is_success() =>
        {
            Err(UpstreamError::Declined(host).into())
        }
        Switch::Declined(response, lease) => {
            let mut response =
                response.map(|body| Content::Relayed(Relay::new(body, lease, exchange)));
            *response.version_mut() = Version::HTTP_11;
            headers::prepare_response(response.headers_mut());
            Ok((response, None))
        }
        Switch::Http1(response, _) if !handshake.is_met_by(response.headers()) => {
            Err(UpstreamError::Switched(host).into())
        }
        Switch::Http1(response, origin) | Switch::Http2(response, origin) => {
            exchange.speaks("websocket");
            let agreed = Agreed { origin, left, exchange: exchange.clone() };
            Ok((handshake.agreement(response), Some(agreed)))
        }
    }
}

/// The headers of a hop by HTTP/1, both of the request and of an answer that agrees.
fn belongs_to_hop(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// What belongs to a key (RFC 6455, 4.2.2).
fn accept(key: &HeaderValue) -> String {
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat()))
}

/// The value of a header that comes once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROPER: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];

    fn handshake(method: &str, version: Version, fields: &[(&str, &str)]) -> Option<Handshake> {
        let mut request = Request::builder().method(method).version(version);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        Handshake::of(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_proper_handshake_is_known_by_every_one_of_its_parts() {
        let proper = handshake("GET", Version::HTTP_11, &PROPER).unwrap();
        assert_eq!(proper.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(handshake("POST", Version::HTTP_11, &PROPER).is_none());
        assert!(handshake("GET", Version::HTTP_10, &PROPER).is_none());
        for left_out in 0..PROPER.len() {
            let mut fields = PROPER.to_vec();
            let (name, _) = fields.remove(left_out);
            assert!(handshake("GET", Version::HTTP_11, &fields).is_none(), "without {name}");
        }
        for other in [
            ("connection", "close"),
            ("upgrade", "h2c"),
            ("upgrade", "websocket2"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"),
            ("sec-websocket-key", "AAAA"),
            ("sec-websocket-key", ""),
            ("sec-websocket-version", "8"),
            ("sec-websocket-version", "13, 8"),
        ] {
            let fields = PROPER.map(|field| if field.0 == other.0 { other } else { field });
            assert!(handshake("GET", Version::HTTP_11, &fields).is_none(), "{other:?}");
        }
        for twice in [PROPER[2], PROPER[3]] {
            let fields = [&PROPER[..], &[twice]].concat();
            assert!(handshake("GET", Version::HTTP_11, &fields).is_none(), "{twice:?} twice");
        }
    }

    #[test]
    fn an_origin_agrees_only_with_the_key_and_to_a_websocket_alone() {
        let agreed = |fields: &[(&str, &str)]| {
            let headers: HeaderMap = fields
                .iter()
                .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
                .collect();
            handshake("GET", Version::HTTP_11, &PROPER).unwrap().is_met_by(&headers)
        };
        let accept = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let proper = [("connection", "upgrade"), ("upgrade", "Websocket"), accept];
        assert!(agreed(&proper));
        for left_out in 0..proper.len() {
            let mut fields = proper.to_vec();
            fields.remove(left_out);
            assert!(!agreed(&fields), "{left_out}");
        }
        let odd = ("sec-websocket-accept", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        for fields in [
            [proper[0], proper[1], odd],
            [("connection", "close"), proper[1], accept],
            [proper[0], ("upgrade", "h2c"), accept],
            [proper[0], ("upgrade", "websocket, h2c"), accept],
        ] {
            assert!(!agreed(&fields), "{fields:?}");
        }
    }
}
