//! Which requests go through a proxy of the user's network, and how.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, Request, Uri, header, uri};
use ipnet::IpNet;

use super::Origin;
use crate::policy::{Authority, Host, Scheme, is_below};

/// The proxies of the user's network (`--upstream-proxy`, `HTTPS_PROXY` and its like).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http`.
    pub http: Option<Proxy>,
    /// For `https`.
    pub https: Option<Proxy>,
    /// What is reached without them.
    pub except: Vec<Exception>,
}

/// A proxy that speaks HTTP/1.1.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    authority: Authority,
    /// What it is told in `Proxy-Authorization`.
    credentials: Option<HeaderValue>,
}

/// Hosts that are reached without a proxy (`NO_PROXY`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The hosts.
    pub hosts: ExceptedHosts,
    /// Only this port of theirs.
    pub port: Option<u16>,
}

/// Which hosts an [`Exception`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExceptedHosts {
    /// All.
    All,
    /// This domain and all names below it.
    Domain(String),
    /// Addresses, where a URL has them in place of a name.
    Net(IpNet),
}

impl Proxies {
    /// The proxy on the way to `origin`, if there is one.
    ///
    /// This machine's own services are always reached without one: to a proxy elsewhere,
    /// `localhost` is another machine.
    pub(super) fn of(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = match origin.scheme {
            Scheme::Http => self.http.as_ref(),
            // By CONNECT, as for `https`: the proxy sees none of it.
            Scheme::Https | Scheme::Tls | Scheme::Tcp => self.https.as_ref(),
        }?;
        let authority = &origin.authority;
        let excepted = is_loopback(authority.host())
            || self.except.iter().any(|exception| exception.holds(authority));
        (!excepted).then_some(proxy)
    }
}

impl Proxy {
    /// A proxy at `authority`, and the user's name and password there.
    pub fn new(authority: Authority, user: Option<(&[u8], &[u8])>) -> Self {
        let credentials = user.map(|(name, password)| {
            let encoded = BASE64_STANDARD.encode([name, b":", password].concat());
            let mut value = HeaderValue::try_from(format!("Basic {encoded}"))
                .expect("base64 is made of visible ASCII");
            value.set_sensitive(true);
            value
        });
        Self { authority, credentials }
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) fn credentials(&self) -> Option<&HeaderValue> {
        self.credentials.as_ref()
    }

    /// Rewrites a request to `origin` as this proxy takes it: with the whole URL, and with who asks
    /// (RFC 9112, 3.2.2).
    pub(super) fn address<B>(&self, request: &mut Request<B>, origin: &Origin) {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        let authority = origin.authority.in_url(origin.scheme).to_string();
        parts.scheme = Some(uri::Scheme::HTTP);
        parts.authority = uri::Authority::try_from(authority).ok();
        parts.path_and_query.get_or_insert(uri::PathAndQuery::from_static("/"));
        *request.uri_mut() =
            Uri::from_parts(parts).expect("a canonical authority, and a path that was parsed");
        if let Some(credentials) = &self.credentials {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, credentials.clone());
        }
    }
}

impl fmt::Debug for Proxy {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.authority)
    }
}

impl fmt::Display for Proxy {
    /// Where it is, without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

impl Exception {
    fn holds(&self, authority: &Authority) -> bool {
        if self.port.is_some_and(|port| port != authority.port()) {
            return false;
        }
        match (&self.hosts, authority.host()) {
            (ExceptedHosts::All, _) => true,
            (ExceptedHosts::Domain(domain), Host::Name(name)) => {
                name == domain || is_below(name, domain)
            }
            (ExceptedHosts::Net(net), Host::Ip(ip)) => net.contains(ip),
            (ExceptedHosts::Domain(_), Host::Ip(_)) | (ExceptedHosts::Net(_), Host::Name(_)) => {
                false
            }
        }
    }
}

fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Name(name) => name == "localhost" || is_below(name, "localhost"),
        Host::Ip(ip) => ip.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        let (scheme, rest) = url.split_once("://").unwrap();
        let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
        let named = crate::policy::HostPort::parse(rest).unwrap();
        let port = named.port.unwrap_or(scheme.default_port());
        Origin { scheme, authority: Authority::new(named.host, port) }
    }

    fn proxy(host: &str) -> Proxy {
        Proxy::new(Authority::new(Host::parse(host).unwrap(), 3128), None)
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let both = Proxies {
            http: Some(proxy("a.test")),
            https: Some(proxy("b.test")),
            ..Proxies::default()
        };
        assert_eq!(both.of(&origin("http://c.test")), both.http.as_ref());
        assert_eq!(both.of(&origin("https://c.test")), both.https.as_ref());
        assert_eq!(Proxies::default().of(&origin("https://c.test")), None);
        let one = Proxies { http: None, ..both };
        assert_eq!(one.of(&origin("http://c.test")), None);
    }

    #[test]
    fn exceptions_are_reached_without() {
        let domain =
            |name: &str, port| Exception { hosts: ExceptedHosts::Domain(name.to_owned()), port };
        let net =
            |net: &str| Exception { hosts: ExceptedHosts::Net(net.parse().unwrap()), port: None };
        let some = vec![domain("a.test", None), domain("b.test", Some(8443)), net("10.0.0.0/8")];
        for (except, url, direct) in [
            (vec![], "https://a.test", false),
            (vec![Exception { hosts: ExceptedHosts::All, port: None }], "https://a.test", true),
            (some.clone(), "https://a.test", true),
            (some.clone(), "https://a.test:1", true),
            (some.clone(), "https://b.a.test", true),
            (some.clone(), "https://ba.test", false),
            (some.clone(), "https://test", false),
            (some.clone(), "https://b.test", false),
            (some.clone(), "https://b.test:8443", true),
            (some.clone(), "https://10.1.2.3", true),
            (some, "https://11.1.2.3", false),
            (vec![], "https://localhost", true),
            (vec![], "https://a.localhost", true),
            (vec![], "https://127.1.2.3", true),
            (vec![], "https://[::1]", true),
            (vec![], "https://localhost.test", false),
        ] {
            let proxies = Proxies { https: Some(proxy("p.test")), except, ..Proxies::default() };
            assert_eq!(proxies.of(&origin(url)).is_none(), direct, "{url}");
        }
    }

    #[test]
    fn requests_are_addressed_as_a_proxy_takes_them() {
        let known = Proxy::new(
            Authority::new(Host::parse("p.test").unwrap(), 3128),
            Some((b"user", b"pass:word\xff")),
        );
        for (to, target, written) in [
            ("http://a.test", "/x?y", "http://a.test/x?y"),
            ("http://a.test:8080", "/", "http://a.test:8080/"),
            ("http://[::1]:81", "/%2f//..", "http://[::1]:81/%2f//.."),
        ] {
            let mut request = Request::new(());
            *request.uri_mut() = target.parse().unwrap();
            known.address(&mut request, &origin(to));
            assert_eq!(request.uri().to_string(), written);
            let credentials = &request.headers()[header::PROXY_AUTHORIZATION];
            assert_eq!(credentials.as_bytes(), b"Basic dXNlcjpwYXNzOndvcmT/");
        }
        let shown = format!("{known:?} {known}");
        assert!(shown.contains("p.test:3128") && !shown.contains("dXNl"), "{shown}");
    }
}
