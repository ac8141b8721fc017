//! What a rule may know about a request.

use std::{
    fmt,
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use http::Version;

use super::{Authority, Headers, Host};

/// How the jailed program spoke to the proxy, and how the proxy speaks to the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP inside TLS.
    Https,
    /// Bytes that nobody reads.
    Tcp,
    /// TLS that nobody looks into; only its server name is known.
    Tls,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// The port that a URL of this scheme means when it names none; 0, which is no port, where
    /// each URL names its own.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Tcp | Self::Tls => 0,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An authority as it stands in a URL or a `Host` header: without the scheme's default port.
#[derive(Clone, Copy, Debug)]
pub struct AuthorityInUrl<'a> {
    host: &'a Host,
    port: Option<u16>,
}

impl Authority {
    /// How this authority is written in a URL of `scheme`.
    pub fn in_url(&self, scheme: Scheme) -> AuthorityInUrl<'_> {
        let port = Some(self.port()).filter(|port| *port != scheme.default_port());
        AuthorityInUrl { host: self.host(), port }
    }
}

impl fmt::Display for AuthorityInUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// The process that opened the connection, as the kernel saw it at `connect()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id in the initial PID namespace (the thread group's).
    pub pid: u32,
    /// Real user id.
    pub uid: u32,
    /// The kernel's name of the thread, at most 15 bytes; not UTF-8 bytes are replaced.
    pub comm: String,
}

/// One request, as the rules see it and as it will be dialled: both come from here alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// The method, as sent; `TCP` or `TLS` for a connection as a whole.
    pub method: String,
    /// `http` or `https`, or that of a connection as a whole.
    pub scheme: Scheme,
    /// Canonical host, and the port that is dialled.
    pub authority: Authority,
    /// The path, `/` at least, without the query; nothing for a connection as a whole.
    pub path: String,
    /// What follows the first `?`, without it.
    pub query: Option<String>,
    /// The version of HTTP; none for a connection as a whole.
    pub protocol: Option<Version>,
    /// The header fields; none for a connection as a whole.
    pub headers: Headers,
    /// The address from which the jailed program connected.
    pub requester: IpAddr,
    /// Who opened the connection, where the kernel could tell.
    pub process: Option<Process>,
    /// When it came.
    pub time: SystemTime,
}

impl RequestFacts {
    /// The absolute URL; the port is left out where it is the scheme's default.
    pub fn url(&self) -> String {
        let mut url = format!("{}://{}", self.scheme, self.authority.in_url(self.scheme));
        url.push_str(&self.path);
        if let Some(query) = &self.query {
            url.push('?');
            url.push_str(query);
        }
        url
    }

    /// The version of HTTP as it stands in a request line, or would.
    pub fn protocol(&self) -> Option<&'static str> {
        self.protocol.map(|version| match version {
            Version::HTTP_09 => "HTTP/0.9",
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_11 => "HTTP/1.1",
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_3 => "HTTP/3",
            _ => "HTTP",
        })
    }

    /// When it came, in milliseconds since 1970 began, as JavaScript's `Date.now()` counts.
    pub fn milliseconds(&self) -> u64 {
        let since = self.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_millis().try_into().unwrap_or(u64::MAX)
    }
}
