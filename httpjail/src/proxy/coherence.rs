//! From a request head to the facts that are judged: one host, one port, one path, whatever way
//! the client wrote them, or a refusal (P8).

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, request::Parts};

use super::connection::{Destination, Reach};
use crate::policy::{Authority, AuthorityError, Headers, Host, HostPort, RequestFacts, Scheme};

/// Why a request can't be judged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Incoherent {
    #[error("CONNECT is not supported here")]
    Connect,
    #[error("a CONNECT request has no body")]
    ConnectBody,
    #[error("port 53 is httpjail's own: ask for names without a tunnel")]
    Dns,
    #[error("a CONNECT for a protocol can only ask for a WebSocket")]
    Protocol,
    #[error("a WebSocket needs sec-websocket-version: 13")]
    WebSocketVersion,
    #[error("the request target is neither a path nor an http or https URL")]
    Target,
    #[error("the URL's scheme is not that of the connection")]
    Scheme,
    #[error("an HTTP/1.1 request needs exactly one Host header")]
    HostCount,
    #[error("an HTTP/2 request needs :authority or one Host header")]
    NoAuthority,
    #[error("{0}")]
    Authority(#[from] AuthorityError),
    #[error("the Host header differs from the URL")]
    HostDiffersFromUrl,
    #[error("the request's host or port differs from that of the connection")]
    Misdirected,
    #[error("Loop detected: the request is for this proxy itself")]
    Itself,
}

impl Incoherent {
    /// The status to answer with.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Connect | Self::Protocol => StatusCode::NOT_IMPLEMENTED,
            Self::Dns => StatusCode::FORBIDDEN,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Itself => StatusCode::LOOP_DETECTED,
            Self::ConnectBody
            | Self::WebSocketVersion
            | Self::Target
            | Self::Scheme
            | Self::HostCount
            | Self::NoAuthority
            | Self::Authority(_)
            | Self::HostDiffersFromUrl => StatusCode::BAD_REQUEST,
        }
    }
}

/// The facts of a request that came over a connection to `destination`, but for its header fields,
/// which are lent when it is judged.
pub(super) fn facts(destination: &Destination, parts: &Parts) -> Result<RequestFacts, Incoherent> {
    if parts.method == Method::CONNECT {
        return Err(Incoherent::Connect);
    }
    let authority = authority(destination, parts)?;
    not_itself(destination, &authority)?;
    let target = parts.uri.path_and_query().ok_or(Incoherent::Target)?;
    if !target.path().starts_with('/') {
        return Err(Incoherent::Target);
    }
    Ok(RequestFacts {
        method: parts.method.as_str().to_owned(),
        scheme: destination.scheme,
        authority,
        path: target.path().to_owned(),
        query: target.query().map(str::to_owned),
        protocol: Some(parts.version),
        headers: Headers::default(),
        requester: destination.requester,
        process: destination.process.clone(),
        time: SystemTime::now(),
    })
}

fn authority(destination: &Destination, parts: &Parts) -> Result<Authority, Incoherent> {
    if parts.version == Version::HTTP_2 {
        return http2_authority(destination, parts);
    }
    let host = host_header(&parts.headers, parts.version)?;
    match (parts.uri.scheme_str(), parts.uri.authority()) {
        (None, None) => origin_form(destination, host),
        (Some(scheme), Some(authority)) => {
            if !scheme.eq_ignore_ascii_case(destination.scheme.as_str()) {
                return Err(Incoherent::Scheme);
            }
            let url = HostPort::parse(authority.as_str())?;
            if let Some(host) = host
                && with_port(parse(host)?, destination.scheme)
                    != with_port(url.clone(), destination.scheme)
            {
                return Err(Incoherent::HostDiffersFromUrl);
            }
            absolute_form(destination, url)
        }
        _ => Err(Incoherent::Target),
    }
}

/// HTTP/2: `:authority`, or Host in its place (RFC 9113, 8.3.1); the port is the connection's.
fn http2_authority(destination: &Destination, parts: &Parts) -> Result<Authority, Incoherent> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(parse).transpose()?;
    if hosts.next().is_some() {
        return Err(Incoherent::HostCount);
    }
    let Some(named) = parts.uri.authority() else {
        return agree(destination, host.ok_or(Incoherent::NoAuthority)?);
    };
    if parts.uri.scheme_str() != Some(destination.scheme.as_str()) {
        return Err(Incoherent::Scheme);
    }
    let named = HostPort::parse(named.as_str())?;
    if let Some(host) = host
        && with_port(host, destination.scheme) != with_port(named.clone(), destination.scheme)
    {
        return Err(Incoherent::HostDiffersFromUrl);
    }
    agree(destination, named)
}

/// `GET /path`: the host is the header's, the port that of the connection.
fn origin_form(
    destination: &Destination,
    host: Option<&HeaderValue>,
) -> Result<Authority, Incoherent> {
    let Some(host) = host else {
        // HTTP/1.0: the host is the one that the client connected to.
        return Ok(destination.authority.clone());
    };
    if is_plainly(host, destination) {
        return Ok(destination.authority.clone());
    }
    agree(destination, parse(host)?)
}

/// `GET http://host/path`: a client that takes us for its proxy means the URL's own port; inside
/// TLS the connection's destination stands.
fn absolute_form(destination: &Destination, url: HostPort) -> Result<Authority, Incoherent> {
    match destination.scheme {
        Scheme::Http => Ok(with_port(url, Scheme::Http)),
        Scheme::Https | Scheme::Tcp | Scheme::Tls => agree(destination, url),
    }
}

/// A port that is named must be the connection's, if that was meant for somebody else than the proxy.
/// Inside TLS so must the host.
fn agree(destination: &Destination, named: HostPort) -> Result<Authority, Incoherent> {
    let port = match destination.reach {
        Reach::Turned | Reach::Tunnel => destination.authority.port(),
        Reach::Direct => named.port.unwrap_or(destination.scheme.default_port()),
    };
    let same_port = named.port.is_none_or(|named| named == port);
    let same_host = match destination.scheme {
        Scheme::Http => true,
        Scheme::Https | Scheme::Tcp | Scheme::Tls => named.host == *destination.authority.host(),
    };
    if same_port && same_host {
        return Ok(Authority::new(named.host, port));
    }
    Err(Incoherent::Misdirected)
}

/// Refuses a client that came to the proxy by itself and asks for just that. A name that only stands
/// for the proxy is found out when it is resolved.
pub(super) fn not_itself(destination: &Destination, asked: &Authority) -> Result<(), Incoherent> {
    let own = &destination.authority;
    let is_own_host = match asked.host() {
        Host::Name(name) => name.as_str() == "localhost",
        Host::Ip(_) => asked.host() == own.host(),
    };
    let is_own = destination.reach == Reach::Direct
        && matches!(own.host(), Host::Ip(_))
        && is_own_host
        && asked.port() == own.port();
    if is_own { Err(Incoherent::Itself) } else { Ok(()) }
}

/// Whether the header is the canonical name of the destination and nothing else, as it nearly
/// always is: then there is nothing to parse.
fn is_plainly(host: &HeaderValue, destination: &Destination) -> bool {
    match destination.authority.host() {
        Host::Name(name) => host.as_bytes() == name.as_bytes(),
        Host::Ip(_) => false,
    }
}

/// The one Host header; HTTP/1.0 and HTTP/2 go without.
pub(super) fn host_header(
    headers: &HeaderMap,
    version: Version,
) -> Result<Option<&HeaderValue>, Incoherent> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    let missing = host.is_none() && !matches!(version, Version::HTTP_10 | Version::HTTP_2);
    if missing || hosts.next().is_some() {
        return Err(Incoherent::HostCount);
    }
    Ok(host)
}

/// The host that a Host header names, and the port if it does.
pub(super) fn parse(host: &HeaderValue) -> Result<HostPort, AuthorityError> {
    let text = std::str::from_utf8(host.as_bytes()).map_err(|_| AuthorityError::Host)?;
    HostPort::parse(text)
}

fn with_port(named: HostPort, scheme: Scheme) -> Authority {
    Authority::new(named.host, named.port.unwrap_or(scheme.default_port()))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn destination(scheme: Scheme, host: &str, port: u16) -> Destination {
        Destination {
            scheme,
            authority: Authority::new(Host::parse(host).unwrap(), port),
            requester: "127.0.0.1".parse().unwrap(),
            process: None,
            reach: Reach::Turned,
        }
    }

    fn read(destination: &Destination, target: &str, hosts: &[&str]) -> Result<String, Incoherent> {
        let mut request = Request::builder().method("GET").uri(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        facts(destination, &parts).map(|facts| facts.url())
    }

    #[test]
    fn inside_tls_the_host_is_that_of_the_handshake() {
        let destination = destination(Scheme::Https, "a.test", 8443);
        for (target, host) in [
            ("/p?q", "a.test"),
            ("/p?q", "A.TEST."),
            ("/p?q", "a.test:8443"),
            ("https://a.test/p?q", "a.test"),
            ("https://A.test:8443/p?q", "a.test:8443"),
        ] {
            let url = read(&destination, target, &[host]);
            assert_eq!(url.as_deref(), Ok("https://a.test:8443/p?q"), "{target} {host}");
        }
        for host in ["b.test", "a.test:443", "a.test:80", "sub.a.test", "127.0.0.1"] {
            assert_eq!(read(&destination, "/", &[host]), Err(Incoherent::Misdirected), "{host}");
        }
        assert_eq!(
            read(&destination, "https://b.test/", &["b.test"]),
            Err(Incoherent::Misdirected)
        );
        assert_eq!(read(&destination, "http://a.test/", &["a.test"]), Err(Incoherent::Scheme));
    }

    #[test]
    fn over_plain_http_each_request_names_its_host() {
        let destination = destination(Scheme::Http, "a.test", 8080);
        for (target, host, url) in [
            ("/", "a.test", "http://a.test:8080/"),
            ("/", "b.test:8080", "http://b.test:8080/"),
            ("/", "[::1]:8080", "http://[::1]:8080/"),
            ("http://c.test/x", "c.test:80", "http://c.test/x"),
            ("http://c.test", "c.test", "http://c.test/"),
            ("http://c.test:81/x", "C.test.:81", "http://c.test:81/x"),
        ] {
            assert_eq!(read(&destination, target, &[host]).as_deref(), Ok(url), "{target} {host}");
        }
        assert_eq!(read(&destination, "/", &["a.test:80"]), Err(Incoherent::Misdirected));
    }

    #[test]
    fn requests_that_two_programs_could_read_differently_are_refused() {
        let destination = destination(Scheme::Http, "a.test", 80);
        let authority = |error| Err(Incoherent::Authority(error));
        for (target, hosts, refusal) in [
            ("/", &[][..], Err(Incoherent::HostCount)),
            ("http://a.test/", &[], Err(Incoherent::HostCount)),
            ("/", &["a.test", "b.test"], Err(Incoherent::HostCount)),
            ("/", &["a.test", "a.test"], Err(Incoherent::HostCount)),
            ("/", &[""], authority(AuthorityError::Host)),
            ("/", &["a.test, b.test"], authority(AuthorityError::Host)),
            ("/", &["a.test b.test"], authority(AuthorityError::Host)),
            ("/", &["a.test/b"], authority(AuthorityError::Host)),
            ("/", &["a.test:"], authority(AuthorityError::Port)),
            ("/", &["a.test:80:80"], authority(AuthorityError::Port)),
            ("/", &["u@a.test"], authority(AuthorityError::UserInfo)),
            ("http://u@a.test/", &["a.test"], authority(AuthorityError::UserInfo)),
            ("http://a.test/", &["b.test"], Err(Incoherent::HostDiffersFromUrl)),
            ("http://a.test/", &["a.test:81"], Err(Incoherent::HostDiffersFromUrl)),
            ("https://a.test/", &["a.test"], Err(Incoherent::Scheme)),
            ("ftp://a.test/", &["a.test"], Err(Incoherent::Scheme)),
            ("a.test:80", &["a.test"], Err(Incoherent::Target)),
            ("*", &["a.test"], Err(Incoherent::Target)),
        ] {
            assert_eq!(read(&destination, target, hosts), refusal, "{target} {hosts:?}");
        }
    }

    #[test]
    fn http_2_names_its_host_in_the_target_or_the_header() {
        let read = |scheme, target: &str, hosts: &[&str]| {
            let mut request = Request::builder().version(Version::HTTP_2).uri(target);
            for host in hosts {
                request = request.header("host", *host);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            facts(&destination(scheme, "a.test", 8443), &parts).map(|facts| facts.url())
        };
        for (target, hosts, url) in [
            ("https://a.test:8443/p?q", &[][..], Ok("https://a.test:8443/p?q")),
            ("https://A.test/p", &[], Ok("https://a.test:8443/p")),
            ("https://a.test/p", &["A.TEST."], Ok("https://a.test:8443/p")),
            ("/p", &["a.test"], Ok("https://a.test:8443/p")),
            ("/p", &[], Err(Incoherent::NoAuthority)),
            ("/p", &["a.test", "a.test"], Err(Incoherent::HostCount)),
            ("/p", &["b.test"], Err(Incoherent::Misdirected)),
            ("https://b.test/p", &[], Err(Incoherent::Misdirected)),
            ("https://a.test:443/p", &[], Err(Incoherent::Misdirected)),
            ("https://a.test/p", &["b.test"], Err(Incoherent::HostDiffersFromUrl)),
            ("https://b.test/p", &["a.test"], Err(Incoherent::HostDiffersFromUrl)),
            ("http://a.test/p", &[], Err(Incoherent::Scheme)),
            ("ftp://a.test/p", &[], Err(Incoherent::Scheme)),
            ("https://u@a.test/p", &[], Err(Incoherent::Authority(AuthorityError::UserInfo))),
        ] {
            let url = url.map(str::to_owned);
            assert_eq!(read(Scheme::Https, target, hosts), url, "{target} {hosts:?}");
        }
        let plain = read(Scheme::Http, "http://b.test:8443/p", &[]);
        assert_eq!(plain.as_deref(), Ok("http://b.test:8443/p"));
        assert_eq!(read(Scheme::Http, "http://b.test:80/", &[]), Err(Incoherent::Misdirected));
    }

    #[test]
    fn http_1_0_may_leave_the_host_to_the_connection() {
        let destination = destination(Scheme::Http, "a.test", 80);
        let request = Request::builder().version(Version::HTTP_10).uri("/x").body(()).unwrap();
        let (parts, ()) = request.into_parts();
        assert_eq!(facts(&destination, &parts).unwrap().url(), "http://a.test/x");
    }
}
