//! `[METHOD[,METHOD] ]HOST[:PORT][/PATH]`: which requests `--allow` and `--deny` are about.

use std::{fmt, num::NonZeroU16, str::FromStr, sync::Arc};

use super::{
    Authority, Host, RequestFacts, Scheme,
    path::{PathAsked, PathError, PathPattern},
    wildcard::{Part, matches},
};

/// Which requests are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPattern {
    /// As the user wrote it.
    text: Arc<str>,
    /// In upper case; none: whatever method.
    methods: Vec<String>,
    host: HostParts,
    port: Port,
    /// `None`: whatever path.
    path: Option<PathPattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostParts {
    /// `**`: every name and every address.
    All,
    /// Without wildcards.
    This(Host),
    /// Names whose labels are these.
    Labels(Vec<Part>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Unsaid,
    All,
    This(NonZeroU16),
}

/// Why a text is no pattern of requests, and where; completes "invalid value: ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct PatternError {
    /// The character at which it goes wrong, from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a pattern of requests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing where a host is due.
    #[error("expected a host, such as example.com, *.example.com or ** for every host")]
    NoHost,
    /// `https://…`.
    #[error("write it without {0}://, since a pattern is about http and https alike")]
    Scheme(String),
    /// No HTTP method.
    #[error("`{0}` isn't an HTTP method")]
    Method(String),
    /// A word before a space that is a method at most by its letters.
    #[error(
        "`{0}` isn't one of the usual methods: write others in capitals, and no space in a host"
    )]
    UnusualMethod(String),
    /// `GET` alone, whose host went elsewhere.
    #[error("`{0}` is a method; quote it together with its host: '{0} example.com'")]
    MethodAlone(String),
    /// `user@host`.
    #[error("a pattern holds no user name")]
    User,
    /// `a*.test`.
    #[error("`*` and `**` stand for whole labels of a name")]
    Wildcard,
    /// No host, or one that means several things.
    #[error("`{0}` isn't a host")]
    Host(String),
    /// `10.0.0.0/8`.
    #[error(
        "`{0}` looks like a network, and a pattern has none; for that path there, name a port, too"
    )]
    Network(String),
    /// Not a port.
    #[error("`{0}` isn't a port from 1 to 65535, or * for all")]
    Port(String),
    /// Not a path.
    #[error("{0}")]
    Path(#[from] PathError),
}

/// A request, as patterns look at it: its path is taken apart when the first one asks.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    facts: &'a RequestFacts,
    path: std::cell::OnceCell<PathAsked>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(facts: &'a RequestFacts) -> Self {
        Self { facts, path: std::cell::OnceCell::new() }
    }

    fn path(&self) -> &PathAsked {
        self.path.get_or_init(|| PathAsked::new(&self.facts.path))
    }
}

impl RequestPattern {
    /// Whether it is proven that this pattern, in an allowance, is about the request. Without a port
    /// it is about the usual one alone. It is never about what isn't read as HTTP.
    pub(super) fn surely_has(&self, asked: &Asked<'_>) -> bool {
        let RequestFacts { method, scheme, authority, .. } = asked.facts;
        let is_read = match scheme {
            Scheme::Http | Scheme::Https => true,
            Scheme::Tcp | Scheme::Tls => false,
        };
        let port = match self.port {
            Port::Unsaid => authority.port() == scheme.default_port(),
            Port::All => true,
            Port::This(port) => authority.port() == port.get(),
        };
        is_read
            && port
            && (self.methods.is_empty() || self.methods.contains(method))
            && self.host.matches(authority.host())
            && self.path.as_ref().is_none_or(|path| path.surely_has(asked.path()))
    }

    /// Whether this pattern, in a refusal, may be about the request. Without a port it is about all.
    /// TLS that isn't looked into may hold any request; what is neither TLS nor HTTP holds none.
    pub(super) fn may_have(&self, asked: &Asked<'_>) -> bool {
        let RequestFacts { method, scheme, authority, .. } = asked.facts;
        self.is_at(authority)
            && match scheme {
                Scheme::Http | Scheme::Https => {
                    let same = |own: &String| own.eq_ignore_ascii_case(method);
                    (self.methods.is_empty() || self.methods.iter().any(same))
                        && self.path.as_ref().is_none_or(|path| path.may_have(asked.path()))
                }
                Scheme::Tls => true,
                Scheme::Tcp => self.methods.is_empty() && self.path.is_none(),
            }
    }

    /// As the user wrote it.
    pub(super) fn text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// Whether it is about some paths only.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn names_path(&self) -> bool {
        self.path.is_some()
    }

    fn is_at(&self, authority: &Authority) -> bool {
        let port = match self.port {
            Port::Unsaid | Port::All => true,
            Port::This(port) => authority.port() == port.get(),
        };
        port && self.host.matches(authority.host())
    }
}

impl HostParts {
    fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::All, _) => true,
            (Self::This(this), host) => this == host,
            (Self::Labels(parts), Host::Name(name)) => {
                matches(parts, &name.split('.').collect::<Vec<_>>())
            }
            (Self::Labels(_), Host::Ip(_)) => false,
        }
    }
}

impl fmt::Display for RequestPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RequestPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (methods, rest) = match text.split_once(' ') {
            Some((methods, _)) => (Some(methods), text[methods.len()..].trim_start_matches(' ')),
            None => (None, text),
        };
        let at = columns(&text[..text.len() - rest.len()]);
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if let Some(scheme) = authority.strip_suffix(':').filter(|_| path.starts_with("//")) {
            return Err(wrong(at, Problem::Scheme(scheme.to_owned())));
        }
        let (host, port) = split_port(authority);
        let methods = methods.map_or(Ok(Vec::new()), self::methods)?;
        if methods.is_empty() && port.is_none() && path.is_empty() && METHODS.contains(&host) {
            return Err(wrong(at, Problem::MethodAlone(host.to_owned())));
        }
        let path_at = at + columns(authority);
        let parts = self::host(host, at)?;
        if port.is_none() && is_network(&parts, path) {
            return Err(wrong(at, Problem::Network(rest.to_owned())));
        }
        Ok(Self {
            methods,
            host: parts,
            port: port.map_or(Ok(Port::Unsaid), |port| {
                self::port(port)
                    .ok_or_else(|| wrong(at + columns(host) + 1, Problem::Port(port.to_owned())))
            })?,
            path: match path {
                "" => None,
                path => PathPattern::parse(path)
                    .map_err(|(amid, error)| wrong(path_at + amid, error.into()))?,
            },
            text: text.into(),
        })
    }
}

fn methods(text: &str) -> Result<Vec<String>, PatternError> {
    let mut at = 0;
    let mut methods = Vec::new();
    for method in text.split(',') {
        // Tokens may hold more, but a `*` or a dot is more likely a host's.
        let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if method.is_empty() || !method.bytes().all(is_usual) {
            return Err(wrong(at, Problem::Method(method.to_owned())));
        }
        let upper = method.to_ascii_uppercase();
        if upper != method && !METHODS.contains(&&*upper) {
            return Err(wrong(at, Problem::UnusualMethod(method.to_owned())));
        }
        methods.push(upper);
        at += columns(method) + 1;
    }
    Ok(methods)
}

/// Host and port; of what stands in brackets, colons are part.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let behind = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[behind..].find(':') {
        Some(colon) => (&authority[..behind + colon], Some(&authority[behind + colon + 1..])),
        None => (authority, None),
    }
}

fn port(text: &str) -> Option<Port> {
    if text == "*" {
        return Some(Port::All);
    }
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain).map(Port::This)
}

/// Reads a host that begins at `at`.
fn host(text: &str, at: usize) -> Result<HostParts, PatternError> {
    if text.is_empty() {
        return Err(wrong(at, Problem::NoHost));
    }
    if text == "**" {
        return Ok(HostParts::All);
    }
    if let Some(user) = text.chars().position(|c| c == '@') {
        return Err(wrong(at + user, Problem::User));
    }
    let not_a_host = || wrong(at, Problem::Host(text.to_owned()));
    if !text.contains('*') {
        return Host::parse(text).map(HostParts::This).map_err(|_| not_a_host());
    }
    let mut label_at = at;
    let mut wildcards = Vec::new();
    for label in text.split('.') {
        let wildcard = Part::wildcard(label);
        wildcards.push(wildcard.map_err(|amid| wrong(label_at + amid.0, Problem::Wildcard))?);
        label_at += columns(label) + 1;
    }
    // The literal labels have their canonical form in a name of as many labels.
    let stands_in = |(label, wildcard): (_, &Option<Part>)| match wildcard {
        Some(_) => "x",
        None => label,
    };
    let name: Vec<&str> = text.split('.').zip(&wildcards).map(stands_in).collect();
    let Ok(Host::Name(name)) = Host::parse(&name.join(".")) else { return Err(not_a_host()) };
    if wildcards.last() == Some(&None) && text.ends_with('.') {
        wildcards.pop();
    }
    let labels: Vec<&str> = name.split('.').collect();
    if labels.len() != wildcards.len() {
        return Err(not_a_host());
    }
    let literal = |label: &str| Part::Literal(label.as_bytes().to_vec());
    let parts = wildcards.into_iter().zip(labels);
    let parts = parts.map(|(wildcard, label)| wildcard.unwrap_or_else(|| literal(label)));
    Ok(HostParts::Labels(parts.collect()))
}

/// Whether the path of an address is rather the length of a prefix.
fn is_network(host: &HostParts, path: &str) -> bool {
    let HostParts::This(Host::Ip(address)) = host else { return false };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = path.strip_prefix('/').and_then(|length| length.parse::<u8>().ok());
    length.is_some_and(|length| length <= longest)
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

fn wrong(at: usize, problem: Problem) -> PatternError {
    PatternError { column: at + 1, problem }
}

/// Methods that may be written in small letters, too. Whoever writes one of them alone has forgotten the
/// quotes.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT"];

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::Version;

    use super::*;
    use crate::policy::{Headers, HostPort};

    fn facts(request: &str) -> RequestFacts {
        let (method, url) = request.split_once(' ').expect("a method");
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let scheme = [Scheme::Http, Scheme::Https, Scheme::Tcp, Scheme::Tls]
            .into_iter()
            .find(|known| known.as_str() == scheme)
            .expect("a scheme");
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let HostPort { host, port } = HostPort::parse(authority).expect("an authority");
        RequestFacts {
            method: method.to_owned(),
            scheme,
            authority: Authority::new(host, port.unwrap_or(scheme.default_port())),
            path: path.to_owned(),
            query: Some("/etc/passwd".to_owned()),
            protocol: Some(Version::HTTP_11),
            headers: Headers::default(),
            requester: [127, 0, 0, 1].into(),
            process: None,
            time: UNIX_EPOCH,
        }
    }

    fn pattern(text: &str) -> RequestPattern {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn surely(text: &str, request: &str) -> bool {
        pattern(text).surely_has(&Asked::new(&facts(request)))
    }

    fn may(text: &str, request: &str) -> bool {
        pattern(text).may_have(&Asked::new(&facts(request)))
    }

    #[test]
    fn patterns_are_about_methods_hosts_ports_and_paths() {
        for (text, request) in [
            ("a.test", "GET https://a.test/"),
            ("a.test", "POST http://a.test/x/y"),
            ("A.Test.", "GET https://a.test/"),
            ("GET a.test", "GET https://a.test/"),
            ("get,Post  a.test", "POST https://a.test/"),
            ("a.test:8443", "GET https://a.test:8443/"),
            ("a.test:*", "GET https://a.test:1/"),
            ("*.a.test", "GET https://b.a.test/"),
            ("**.a.test", "GET https://a.test/"),
            ("**.a.test", "GET https://c.b.a.test/"),
            ("*.**.a.test", "GET https://b.a.test/"),
            ("a.*.test", "GET https://a.b.test/"),
            ("a.**.test", "GET https://a.test/"),
            ("*.bücher.test.", "GET https://x.xn--bcher-kva.test/"),
            ("**", "GET https://a.test/"),
            ("**", "GET https://192.0.2.1/"),
            ("GET **/public/*", "GET https://a.test/public/x"),
            ("127.1", "GET http://127.0.0.1/"),
            ("[::1]:8080/x", "GET http://[::1]:8080/x"),
            ("*", "GET http://localhost/"),
            ("a.test/x", "GET https://a.test/x"),
            ("PURGE,GET a.test:80/*/y/**", "PURGE http://a.test/x/y"),
        ] {
            assert!(surely(text, request) && may(text, request), "{text} {request}");
        }
        for (text, request) in [
            ("a.test", "GET https://b.test/"),
            ("a.test", "GET https://x.a.test/"),
            ("GET a.test", "POST https://a.test/"),
            ("GET a.test", "GETS https://a.test/"),
            ("a.test:8443", "GET https://a.test/"),
            ("*.a.test", "GET https://a.test/"),
            ("*.a.test", "GET https://c.b.a.test/"),
            ("**.a.test", "GET https://xa.test/"),
            ("**.a.test", "GET https://a.test.b/"),
            ("*", "GET https://a.test/"),
            ("**.*", "GET https://192.0.2.1/"),
            ("a.test/", "GET https://a.test/x"),
            ("a.test/x", "GET https://a.test/x/y"),
        ] {
            assert!(!surely(text, request) && !may(text, request), "{text} {request}");
        }
    }

    #[test]
    fn without_a_port_an_allowance_is_narrow_and_a_refusal_wide() {
        for request in ["GET https://a.test:8443/", "GET http://a.test:443/"] {
            assert!(!surely("a.test", request) && may("a.test", request), "{request}");
            assert!(surely("a.test:*", request));
        }
    }

    #[test]
    fn methods_are_case_sensitive_to_an_allowance_alone() {
        assert!(!surely("GET a.test", "get https://a.test/"));
        assert!(may("GET a.test", "get https://a.test/"));
    }

    #[test]
    fn what_is_not_read_as_http_is_never_allowed() {
        for request in ["TCP tcp://a.test:80", "TLS tls://a.test:443"] {
            for text in ["a.test", "a.test:*", "**:*", "TCP,TLS **:*", "**:*/**"] {
                assert!(!surely(text, request), "{text} {request}");
            }
            assert!(may("a.test", request) && !may("b.test", request));
        }
        for (text, tls, tcp) in
            [("POST a.test", true, false), ("a.test/x", true, false), ("**/**", true, true)]
        {
            assert_eq!(may(text, "TLS tls://a.test:443"), tls, "{text}");
            assert_eq!(may(text, "TCP tcp://a.test:22"), tcp, "{text}");
        }
    }

    #[test]
    fn unclear_patterns_are_refused_with_what_is_wrong_where() {
        let told = |text: &str| text.parse::<RequestPattern>().expect_err(text).to_string();
        let texts = [
            "",
            "GET ",
            "/x",
            ":80",
            "GET",
            "GET POST a.test",
            "GET,,PUT a.test",
            "GET, a.test",
            "G(T a.test",
            "https://a.test/",
            "GET https://a.test/",
            "a.test:",
            "a.test:0",
            "a.test:https/x",
            "a.test:80:80",
            "10.0.0.0/8",
            "GET [fd00::]/8",
            "::1",
            "[::1",
            "[::1]x:80",
            "u@a.test",
            "é.u@a.test",
            "a*.test",
            "GET x.***.test",
            "*..test",
            "**.1",
            "*.192.0.2.1",
            "*.a b.test",
            "ex ample",
            "GET,head,purge a.test",
            "a.test/x*",
            "PUT é.test/a/../b",
            "a.test/?q",
            "a.test/a%2fb",
        ];
        let told: Vec<String> = texts.map(|text| format!("{text:?}: {}", told(text))).into();
        insta::assert_snapshot!("pattern_errors", told.join("\n"));
    }

    #[test]
    fn patterns_are_told_as_they_were_written() {
        for text in ["get  A.test:80/é", "**"] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }
}
