//! The canonical host: one form for the rule, the certificate and the dialler.

use std::{fmt, net::IpAddr};

/// A host in its one canonical form: a lower-case ASCII domain without a trailing dot, or an IP
/// address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name (LDH labels and underscores, IDNA applied).
    Name(String),
    /// An address literal.
    Ip(IpAddr),
}

/// A text that names no host, or names one in a way that two programs could read differently.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// The text isn't a host name or an address.
    #[error("invalid host")]
    Host,
    /// The port isn't a number from 1 to 65535.
    #[error("invalid port")]
    Port,
    /// The text holds a user name or password.
    #[error("user information in an authority")]
    UserInfo,
}

impl Host {
    /// Reads a host as the WHATWG URL standard does (IDNA, numeric IPv4 forms, brackets around
    /// IPv6), then takes one trailing dot off. A v4-mapped address is the IPv4 address that is
    /// dialled for it, or a rule about the one would miss the other.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Host`] for anything else.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        match url::Host::parse(text).map_err(|_| AuthorityError::Host)? {
            url::Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(&name);
                let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
                if name.is_empty() || name.len() > 253 || !name.bytes().all(legal) {
                    return Err(AuthorityError::Host);
                }
                if name.split('.').any(|label| label.is_empty() || label.len() > 63) {
                    return Err(AuthorityError::Host);
                }
                Ok(Self::Name(name.to_owned()))
            }
            url::Host::Ipv4(ip) => Ok(Self::Ip(ip.into())),
            url::Host::Ipv6(ip) => Ok(Self::Ip(IpAddr::V6(ip).to_canonical())),
        }
    }
}

impl fmt::Display for Host {
    /// As in a URL: IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => url::Host::<&str>::Ipv6(*ip).fmt(f),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

/// What a `Host` header or the authority of a URL says: a host, and a port if it names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The canonical host.
    pub host: Host,
    /// The port, where the text names one.
    pub port: Option<u16>,
}

impl HostPort {
    /// Reads `host` or `host:port`.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`] for user information, an invalid host, and a port that isn't a plain
    /// number from 1 to 65535 (`a.test:`, `a.test:+80` and `a.test:080` are refused).
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        if text.contains('@') {
            return Err(AuthorityError::UserInfo);
        }
        let (host, port) = split_port(text)?;
        Ok(Self { host: Host::parse(host)?, port: port.map(parse_port).transpose()? })
    }
}

fn split_port(text: &str) -> Result<(&str, Option<&str>), AuthorityError> {
    let end = match text.rfind(']') {
        Some(bracket) => bracket + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at(end);
    if rest.is_empty() {
        return Ok((host, None));
    }
    rest.strip_prefix(':').map(|port| (host, Some(port))).ok_or(AuthorityError::Host)
}

fn parse_port(text: &str) -> Result<u16, AuthorityError> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if !plain {
        return Err(AuthorityError::Port);
    }
    text.parse().map_err(|_| AuthorityError::Port)
}

/// A host and the port to dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authority {
    host: Host,
    port: u16,
}

impl Authority {
    /// Joins a host and a port.
    pub fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    /// The canonical host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, never zero when it was parsed.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_have_one_canonical_form() {
        for (text, canonical) in [
            ("A.Test", "a.test"),
            ("a.test.", "a.test"),
            ("%61.test", "a.test"),
            ("ａ.test", "a.test"),
            ("bücher.test", "xn--bcher-kva.test"),
            ("_dmarc.a.test", "_dmarc.a.test"),
            ("0x7f.1", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("0177.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0::1]", "[::1]"),
            ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ] {
            assert_eq!(Host::parse(text).unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn what_names_no_host_is_refused() {
        for text in [
            "",
            ".",
            "..",
            "a..test",
            "a.test..",
            ".a.test",
            "a b",
            "a,b",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a\0b",
            "a*b",
            "a'b",
            "::1",
            "[::1",
            "[::1%25lo]",
            "[fe80::1%lo]",
            "[::1]x",
            "1.2.3.4.5",
            "256.1.1.1",
            "a%00b",
            "a%2fb",
        ] {
            assert_eq!(Host::parse(text), Err(AuthorityError::Host), "{text:?}");
        }
        assert!(Host::parse(&"a".repeat(64)).is_err());
        assert!(Host::parse(&["a"; 128].join(".")).is_err());
    }

    #[test]
    fn ports_are_plain_numbers() {
        for (text, port) in
            [("a.test", None), ("a.test:1", Some(1)), ("[::1]:65535", Some(65535)), ("[::1]", None)]
        {
            assert_eq!(HostPort::parse(text).unwrap().port, port, "{text}");
        }
        for text in ["a:", "a:0", "a:080", "a:+80", "a:-1", "a:65536", "a: 80", "a:80 ", "a:8:0"] {
            assert_eq!(HostPort::parse(text), Err(AuthorityError::Port), "{text:?}");
        }
        for text in ["u@a", "u:p@a:80", "a@"] {
            assert_eq!(HostPort::parse(text), Err(AuthorityError::UserInfo), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_canonical_authority_reads_as_itself(text in "\\PC{0,40}") {
            if let Ok(parsed) = HostPort::parse(&text) {
                let canonical = parsed.host.to_string();
                prop_assert_eq!(Host::parse(&canonical), Ok(parsed.host));
            }
        }
    }
}
