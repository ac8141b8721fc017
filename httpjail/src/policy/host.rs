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
    /// IPv6), then takes one trailing dot off.
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
            url::Host::Ipv6(ip) => Ok(Self::Ip(ip.into())),
        }
    }
}

impl fmt::Display for Host {
    /// As in a URL: IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
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
