//! Carries out what the gate permitted: it takes nothing but a [`Permitted`] request, dials only
//! the authority that was judged, and writes the request anew (P7).

use http::{HeaderMap, Request, Response, Uri, Version, uri::PathAndQuery};
use http_body::Body;

use super::{
    body::{Content, Outgoing, Relay},
    headers,
    hints::Hints,
    interim::Interim,
};
use crate::{
    policy::Permitted,
    record::{Exchange, Fault},
    streams::Arriving,
    upstream::{Client, Dial, OnInterim, Origin, Speaks, UpstreamError},
};

/// Why a permitted request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It is larger than the rule allows. Nothing was sent.
    #[error("{0}")]
    TooLarge(TooLarge),
    /// The origin could not be reached, or gave no answer.
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
}

impl Failure {
    /// Tells `exchange` of it.
    pub(super) fn tell(&self, exchange: &Exchange) {
        match self {
            Self::TooLarge(what) => exchange.blame(Fault::Jailed, || what.to_string()),
            Self::Upstream(error) => tell_of(error, exchange),
        }
    }
}

/// Tells `exchange` why its origin could not be reached.
pub(super) fn tell_of(error: &UpstreamError, exchange: &Exchange) {
    let fault = if error.is_our_own() { Fault::Httpjail } else { Fault::Upstream };
    exchange.blame(fault, || format!("failed to {}", error.in_one_line()));
}

/// Which part of a request is larger than the rule allows.
#[derive(Debug, thiserror::Error)]
pub(super) enum TooLarge {
    #[error("Request head size ({size} bytes) exceeds maximum allowed ({allowed} bytes)")]
    Head { size: u64, allowed: u64 },
    #[error("Request body size ({size} bytes) exceeds maximum allowed ({allowed} bytes)")]
    Body { size: u64, allowed: u64 },
}

/// A permitted request, written anew.
pub(super) struct Prepared {
    pub(super) origin: Origin,
    /// What the client speaks.
    pub(super) speaks: Speaks,
    pub(super) request: Request<Arriving>,
    /// How many bytes may follow the head.
    pub(super) left: Option<u64>,
}

/// Writes the request anew; `add` sets further headers.
pub(super) fn prepare(
    permitted: Permitted<Request<Arriving>>,
    add: impl FnOnce(&mut HeaderMap),
) -> Result<Prepared, Failure> {
    let (facts, limits, mut request) = permitted.into_parts();
    let speaks = match request.version() {
        Version::HTTP_2 => Speaks::Http2,
        _ => Speaks::Http1,
    };
    *request.version_mut() = Version::HTTP_11;
    if request.uri().authority().is_some() {
        *request.uri_mut() = origin_form(request.uri());
    }
    let length = request.body().size_hint().exact();
    headers::prepare_request(request.headers_mut(), facts.scheme, &facts.authority, length);
    add(request.headers_mut());
    let left = limits.max_tx_bytes.map(|limit| body_allowance(&request, limit)).transpose()?;
    let origin = Origin { scheme: facts.scheme, authority: facts.authority };
    Ok(Prepared { origin, speaks, request, left })
}

/// Where a request has come from.
pub(super) enum Hop<'a> {
    /// A connection of HTTP/1, and by what goes what precedes the answer.
    Http1(&'a Interim),
    /// A stream of HTTP/2, and where what precedes the answer is kept for it.
    Http2(&'a Hints),
}

/// Sends the request to its origin and gives back the origin's answer.
pub(super) async fn forward(
    client: &Client,
    permitted: Permitted<Request<Arriving>>,
    hop: Hop<'_>,
    exchange: &Exchange,
) -> Result<Response<Content>, Failure> {
    let interim = match hop {
        Hop::Http1(interim) => Some(interim),
        Hop::Http2(_) => None,
    };
    let waits = interim.is_some_and(Interim::is_body_waiting);
    let Prepared { origin, speaks, request, left } = prepare(permitted, |headers| {
        if waits {
            headers::expect_continue(headers);
        }
    })?;
    let (told, go): (&dyn OnInterim, _) = match hop {
        Hop::Http1(interim) => (interim, interim.listen()),
        Hop::Http2(hints) => (hints, None),
    };
    let (parts, body) = request.into_parts();
    let body = Outgoing::new(body, left, exchange);
    let request = Request::from_parts(parts, body.once(go));
    let dial = Dial::default();
    let answered = client.send(origin, request, copy, speaks, (told, &dial)).await;
    if let Some(interim) = interim {
        interim.answered();
    }
    exchange.connected(dial.took());
    let (response, lease) = answered?;
    exchange.first_byte();

    let mut response = response.map(|body| Content::Relayed(Relay::new(body, lease, exchange)));
    *response.version_mut() = Version::HTTP_11;
    headers::prepare_response(response.headers_mut());
    Ok(response)
}

/// A copy of a request that may be sent twice: one that does no more if it is, without a body
/// (RFC 9110, 9.2.2).
fn copy(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(Outgoing::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// The target as origins are told it, which begins with a slash (RFC 9112, 3.2.1).
fn origin_form(uri: &Uri) -> Uri {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let target = match target.starts_with(['/', '*']) {
        true => uri.path_and_query().cloned(),
        false => PathAndQuery::try_from(format!("/{target}")).ok(),
    };
    target.map_or_else(|| Uri::from_static("/"), Uri::from)
}

/// How many bytes of the body may follow the head. A body of known length must fit.
fn body_allowance(request: &Request<Arriving>, limit: u64) -> Result<u64, Failure> {
    let length = request.body().size_hint().exact();
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let method = request.method().as_str();
    let head = headers::head_size(method, target, request.headers());
    let Some(allowed) = limit.checked_sub(head) else {
        return Err(Failure::TooLarge(TooLarge::Head { size: head, allowed: limit }));
    };
    match length {
        Some(size) if size > allowed => Err(Failure::TooLarge(TooLarge::Body { size, allowed })),
        _ => Ok(allowed),
    }
}
