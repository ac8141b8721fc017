//! Headers that belong to one hop, and those that httpjail sets.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::policy::{Authority, Host, Scheme};

/// Tells the jailed program that httpjail answered or passed the answer on.
pub(super) const HTTPJAIL: HeaderName = HeaderName::from_static("httpjail");

const CONTINUE: &[u8] = b"100-continue";

/// Makes request headers fit to be sent to `authority` with a body of `length` bytes, or of
/// unknown length.
pub(super) fn prepare_request(
    headers: &mut HeaderMap,
    scheme: Scheme,
    authority: &Authority,
    length: Option<u64>,
) {
    let takes_trailers = takes_trailers(headers);
    strip(headers, is_request_hop);
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    set_host(headers, scheme, authority);
    set_framing(headers, length);
}

/// Joins what HTTP/2 lets a client cut a cookie into (RFC 9113, 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    if let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) {
        let mut whole = first.as_bytes().to_vec();
        for crumb in std::iter::once(second).chain(crumbs) {
            whole.extend_from_slice(b"; ");
            whole.extend_from_slice(crumb.as_bytes());
        }
        let whole = HeaderValue::from_bytes(&whole).expect("legal values make a legal value");
        headers.insert(header::COOKIE, whole);
    }
}

/// Makes response headers fit to be passed on to the jailed program.
pub(super) fn prepare_response(headers: &mut HeaderMap) {
    strip(headers, is_response_hop);
    headers.insert(HTTPJAIL, HeaderValue::from_static("true"));
}

/// Makes the headers of an interim answer fit to be passed on to the jailed program.
pub(super) fn prepare_interim(headers: &mut HeaderMap) {
    strip(headers, is_response_hop);
    headers.remove(header::CONTENT_LENGTH);
}

/// Whether a client waits for `100 Continue` before it sends its body. No other expectation is
/// passed on.
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    let mut expectations = headers.get_all(header::EXPECT).iter();
    expectations.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(CONTINUE))
        && expectations.next().is_none()
}

/// Asks the origin for `100 Continue`.
pub(super) fn expect_continue(headers: &mut HeaderMap) {
    headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
}

/// Whether a header whose values are lists has `token` in one, whatever its case.
pub(super) fn lists(headers: &HeaderMap, name: HeaderName, token: &[u8]) -> bool {
    headers.get_all(name).iter().flat_map(listed).any(|listed| listed.eq_ignore_ascii_case(token))
}

/// How many bytes the head of a request takes on the wire, as it is sent upstream.
pub(super) fn head_size(method: &str, target: &str, headers: &HeaderMap) -> u64 {
    let line = method.len() + target.len() + "  HTTP/1.1\r\n".len();
    let fields: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len())
        .sum();
    (line + fields + "\r\n".len()) as u64
}

/// Takes out what `Connection` lists, but for what has a meaning here: a rule must not decide by what the
/// origin doesn't get.
pub(super) fn withdraw_listed(headers: &mut HeaderMap) {
    let tokens = headers.get_all(header::CONNECTION).iter().flat_map(listed);
    let doomed: Vec<_> = tokens
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| {
            !is_request_hop(name) && *name != header::HOST && *name != header::CONTENT_LENGTH
        })
        .collect();
    for name in doomed {
        headers.remove(name);
    }
}

/// Takes out what `is_hop` says, what `Connection` lists, and all framing that could contradict
/// the framing that is written anew.
fn strip(headers: &mut HeaderMap, is_hop: fn(&HeaderName) -> bool) {
    let mut doomed: Vec<_> = headers.keys().filter(|name| is_hop(name)).cloned().collect();
    for value in headers.get_all(header::CONNECTION) {
        doomed.extend(listed(value).filter_map(|token| HeaderName::from_bytes(token).ok()));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        doomed.push(header::CONTENT_LENGTH);
    }
    for name in doomed {
        headers.remove(name);
    }
    // Equal copies have passed the parser; one is enough.
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if let (Some(length), Some(_)) = (lengths.next(), lengths.next()) {
        let length = length.clone();
        headers.insert(header::CONTENT_LENGTH, length);
    }
}

fn is_request_hop(name: &HeaderName) -> bool {
    is_hop(name) || *name == header::EXPECT || name.as_str() == "http2-settings"
}

fn is_response_hop(name: &HeaderName) -> bool {
    // Other ways to the origin than through the proxy are none of the jail's business.
    is_hop(name) || *name == header::ALT_SVC
}

fn is_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::TE
        || *name == header::PROXY_AUTHENTICATE
        || *name == header::PROXY_AUTHORIZATION
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "proxy-authentication-info")
        || name.as_str().starts_with("httpjail")
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    lists(headers, header::TE, b"trailers")
}

fn listed(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn set_host(headers: &mut HeaderMap, scheme: Scheme, authority: &Authority) {
    let is_default_port = authority.port() == scheme.default_port();
    if is_default_port
        && let Host::Name(name) = authority.host()
        && headers.get(header::HOST).is_some_and(|host| host.as_bytes() == name.as_bytes())
    {
        return;
    }
    let host = HeaderValue::try_from(authority.in_url(scheme).to_string())
        .expect("a canonical host is visible ASCII");
    headers.insert(header::HOST, host);
}

/// Says how the body is framed, whatever the method.
fn set_framing(headers: &mut HeaderMap, length: Option<u64>) {
    match length {
        Some(0) => {}
        Some(length) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        None => {
            headers.remove(header::CONTENT_LENGTH);
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    }

    fn prepared(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        framed(fields, Some(0))
    }

    fn framed(fields: &[(&'static str, &'static str)], length: Option<u64>) -> HeaderMap {
        let mut headers = headers(fields);
        let authority = Authority::new(Host::parse("a.test").unwrap(), 443);
        prepare_request(&mut headers, Scheme::Https, &authority, length);
        headers
    }

    #[test]
    fn headers_of_one_hop_stay() {
        let left = prepared(&[
            ("host", "A.test:443"),
            ("connection", "close, X-Private"),
            ("connection", "x-other,, host"),
            ("x-private", "1"),
            ("x-other", "1"),
            ("keep-alive", "1"),
            ("proxy-connection", "1"),
            ("proxy-authorization", "1"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("http2-settings", "1"),
            ("expect", "100-continue"),
            ("httpjail", "1"),
            ("httpjail-loop-prevention", "1"),
            ("trailer", "x"),
            ("cookie", "a"),
            ("cookie", "b"),
        ]);
        let expected =
            headers(&[("host", "a.test"), ("trailer", "x"), ("cookie", "a"), ("cookie", "b")]);
        assert_eq!(left, expected);
    }

    #[test]
    fn crumbs_make_one_cookie() {
        let mut crumbs = headers(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3")]);
        join_cookies(&mut crumbs);
        assert_eq!(crumbs, headers(&[("cookie", "a=1; b=2; c=3"), ("x", "y")]));
        let mut whole = headers(&[("cookie", "a=1")]);
        join_cookies(&mut whole);
        assert_eq!(whole, headers(&[("cookie", "a=1")]));
    }

    #[test]
    fn only_the_wish_for_trailers_is_passed_on() {
        let left = prepared(&[("host", "a.test"), ("te", "gzip, Trailers"), ("connection", "te")]);
        assert_eq!(left, headers(&[("host", "a.test"), ("te", "trailers"), ("connection", "te")]));
    }

    #[test]
    fn framing_never_contradicts_itself() {
        let chunked = headers(&[("host", "a.test"), ("transfer-encoding", "chunked")]);
        let sized = headers(&[("host", "a.test"), ("content-length", "5")]);
        let both = [("host", "a.test"), ("content-length", "5"), ("transfer-encoding", "chunked")];
        assert_eq!(framed(&both, None), chunked);
        let twice = [("host", "a.test"), ("content-length", "5"), ("content-length", "5")];
        assert_eq!(framed(&twice, Some(5)), sized);
        let hidden =
            [("host", "a.test"), ("content-length", "5"), ("connection", "content-length")];
        assert_eq!(framed(&hidden, Some(5)), sized);
    }

    #[test]
    fn answers_name_no_other_way_to_the_origin() {
        let mut answer =
            headers(&[("alt-svc", "h3=\":443\""), ("upgrade", "h2c"), ("via", "1.1 x")]);
        prepare_response(&mut answer);
        assert_eq!(answer, headers(&[("via", "1.1 x"), ("httpjail", "true")]));
    }

    #[test]
    fn the_head_is_counted_as_it_is_sent() {
        let headers = headers(&[("host", "a.test")]);
        let sent = "GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n";
        assert_eq!(head_size("GET", "/x", &headers), sent.len() as u64);
    }
}
