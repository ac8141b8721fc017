//! What the user opens beyond HTTP: targets of plain TCP, and hosts whose TLS nobody looks into.

use std::{fmt, num::NonZeroU16, str::FromStr, sync::Arc};

use super::{Authority, DecidedBy, Host, HostPattern};

/// Port of DNS, whose connections all go to the stub.
const DNS_PORT: u16 = 53;

/// What `--allow-tcp` and `--passthrough` say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Openings {
    /// Where connections go unread, whatever is spoken on them.
    pub tcp: Vec<TcpTarget>,
    /// Whose TLS goes unread, if the rule allows the name.
    pub passthrough: Vec<HostPattern>,
}

/// That an option opens a connection. Only [`Openings::tcp`] tells so.
#[derive(Debug)]
pub struct Opened(Arc<str>);

/// `HOST:PORT`, with wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpTarget {
    host: HostPattern,
    /// `None`: every port but that of DNS.
    port: Option<NonZeroU16>,
}

/// Why a target was not understood; completes "invalid value: ...".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// No port.
    #[error("expected HOST:PORT, such as git.example.com:22 or *.example.com:*")]
    Form,
    /// An IPv6 address whose end can't be told from the port.
    #[error("expected brackets around an IPv6 address, such as [2001:db8::1]:22")]
    Brackets,
    /// Not a port.
    #[error("`{0}` isn't a port from 1 to 65535, or * for all")]
    Port(String),
    /// The port of DNS.
    #[error("port 53 can't be opened: httpjail answers all that goes there by itself")]
    Dns,
    /// An address where a server name is meant.
    #[error("`{0}` is an address, and TLS has no server name for one: expected a name")]
    Address(String),
    /// No host, or one that means several things.
    #[error(
        "`{0}` isn't a host: expected a name, an address, *.NAME for the names below it, or * for \
         every host"
    )]
    Host(String),
}

impl Openings {
    /// Whether `--allow-tcp` opens connections to `target`.
    pub fn tcp(&self, target: &Authority) -> Option<Opened> {
        let open = self.tcp.iter().find(|open| open.matches(target));
        open.map(|open| Opened(open.to_string().into()))
    }

    /// Whether TLS to this server name may go unread, as far as `--passthrough` is concerned.
    pub fn passes_through(&self, name: &Host) -> bool {
        self.passthrough.iter().any(|pattern| pattern.matches(name))
    }
}

impl Opened {
    /// What records say of it.
    pub(super) fn decided_by(self) -> DecidedBy {
        DecidedBy::Option { option: "--allow-tcp", pattern: self.0 }
    }
}

impl TcpTarget {
    fn matches(&self, target: &Authority) -> bool {
        let same_port = match self.port {
            Some(port) => port.get() == target.port(),
            None => target.port() != DNS_PORT,
        };
        same_port && self.host.matches(target.host())
    }
}

impl FromStr for TcpTarget {
    type Err = OpeningError;

    fn from_str(text: &str) -> Result<Self, OpeningError> {
        let (host, port) = text.rsplit_once(':').ok_or(OpeningError::Form)?;
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(if text.starts_with('[') {
                OpeningError::Form
            } else {
                OpeningError::Brackets
            });
        }
        let host = host.parse()?;
        if port == "*" {
            return Ok(Self { host, port: None });
        }
        let plain = port.bytes().all(|byte| byte.is_ascii_digit());
        let number = port.parse().ok().filter(|_: &NonZeroU16| plain);
        let number = number.ok_or_else(|| OpeningError::Port(port.to_owned()))?;
        if number.get() == DNS_PORT {
            return Err(OpeningError::Dns);
        }
        Ok(Self { host, port: Some(number) })
    }
}

impl fmt::Display for TcpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => write!(f, "{}:*", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens(target: &str, host: &str, port: u16) -> bool {
        let openings = Openings { tcp: vec![target.parse().unwrap()], ..Openings::default() };
        openings.tcp(&Authority::new(Host::parse(host).unwrap(), port)).is_some()
    }

    #[test]
    fn targets_are_hosts_and_ports() {
        for (target, host, port) in [
            ("a.test:22", "a.test", 22),
            ("A.Test.:22", "a.test", 22),
            ("a.test:*", "a.test", 1),
            ("*.a.test:22", "b.a.test", 22),
            ("*.a.test:22", "c.b.a.test", 22),
            ("*.bücher.test:22", "x.xn--bcher-kva.test", 22),
            ("*:22", "a.test", 22),
            ("*:22", "[::1]", 22),
            ("*:*", "192.0.2.1", 65535),
            ("192.0.2.1:5432", "192.0.2.1", 5432),
            ("[2001:db8::1]:22", "[2001:db8:0::1]", 22),
            ("[::ffff:192.0.2.1]:22", "192.0.2.1", 22),
        ] {
            assert!(opens(target, host, port), "{target} {host} {port}");
        }
        for (target, host, port) in [
            ("a.test:22", "a.test", 23),
            ("a.test:22", "b.test", 22),
            ("a.test:22", "x.a.test", 22),
            ("*.a.test:22", "a.test", 22),
            ("*.a.test:22", "xa.test", 22),
            ("*.a.test:22", "b.a.test", 23),
            ("*.a.test:22", "a.test.b.test", 22),
            ("192.0.2.1:22", "192.0.2.2", 22),
            ("192.0.2.1:22", "a.test", 22),
            ("*:*", "a.test", 53),
        ] {
            assert!(!opens(target, host, port), "{target} {host} {port}");
        }
    }

    #[test]
    fn server_names_pass_by_their_patterns_alone() {
        let passthrough = ["a.test", "*.b.test"].map(|pattern| pattern.parse().unwrap()).to_vec();
        let openings = Openings { passthrough, ..Openings::default() };
        for (name, passes) in
            [("a.test", true), ("x.a.test", false), ("b.test", false), ("x.b.test", true)]
        {
            assert_eq!(openings.passes_through(&Host::parse(name).unwrap()), passes, "{name}");
        }
        assert!(!Openings::default().passes_through(&Host::parse("a.test").unwrap()));
    }

    #[test]
    fn unclear_targets_are_refused_with_what_is_wrong() {
        let port = |text: &str| OpeningError::Port(text.to_owned());
        let host = |text: &str| OpeningError::Host(text.to_owned());
        for (text, error) in [
            ("", OpeningError::Form),
            ("a.test", OpeningError::Form),
            ("[::1]", OpeningError::Form),
            ("::1:22", OpeningError::Brackets),
            ("a.test:80:80", OpeningError::Brackets),
            ("a.test:", port("")),
            ("a.test:0", port("0")),
            ("a.test:65536", port("65536")),
            ("a.test:+22", port("+22")),
            ("a.test:ssh", port("ssh")),
            ("a.test:53", OpeningError::Dns),
            (":22", host("")),
            ("a b:22", host("a b")),
            ("a*.test:22", host("a*.test")),
            ("*.*.test:22", host("*.*.test")),
            ("**:22", host("**")),
            ("*.:22", host("*.")),
            ("*.192.0.2.1:22", host("*.192.0.2.1")),
            ("u@a.test:22", host("u@a.test")),
        ] {
            assert_eq!(text.parse::<TcpTarget>(), Err(error), "{text}");
        }
    }

    #[test]
    fn targets_are_told_as_they_are_meant() {
        for (text, told) in [
            ("A.test:22", "a.test:22"),
            ("*.a.test:*", "*.a.test:*"),
            ("[0::1]:1", "[::1]:1"),
            ("*:1", "*:1"),
        ] {
            assert_eq!(text.parse::<TcpTarget>().unwrap().to_string(), told);
        }
    }
}
