//! Which hosts an option is about: one, all below a domain, or all.

use std::{fmt, str::FromStr};

use super::{Host, OpeningError};

/// Which hosts are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// `*`: every name and every address.
    Any,
    /// This one.
    Exactly(Host),
    /// `*.example.com`: the names below that one, at any depth.
    Below(String),
}

impl HostPattern {
    /// Reads a pattern of server names, which are never addresses.
    ///
    /// # Errors
    ///
    /// [`OpeningError`] for an address, and for what is no pattern.
    pub fn server_name(text: &str) -> Result<Self, OpeningError> {
        match text.parse()? {
            Self::Exactly(Host::Ip(_)) => Err(OpeningError::Address(text.to_owned())),
            pattern @ (Self::Any | Self::Exactly(Host::Name(_)) | Self::Below(_)) => Ok(pattern),
        }
    }

    /// Whether it is about `host`.
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Exactly(this), host) => this == host,
            (Self::Below(parent), Host::Name(name)) => is_below(name, parent),
            (Self::Below(_), Host::Ip(_)) => false,
        }
    }

    /// Of two patterns about the same host, the closer one is greater.
    pub fn closeness(&self) -> usize {
        match self {
            Self::Any => 0,
            Self::Below(parent) => parent.len(),
            Self::Exactly(_) => usize::MAX,
        }
    }
}

/// Whether `name` is below `domain`; both are canonical.
pub fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

impl FromStr for HostPattern {
    type Err = OpeningError;

    fn from_str(text: &str) -> Result<Self, OpeningError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let not_a_host = |_| OpeningError::Host(text.to_owned());
        match text.strip_prefix("*.") {
            None => Host::parse(text).map(Self::Exactly).map_err(not_a_host),
            Some(parent) => match Host::parse(parent).map_err(not_a_host)? {
                Host::Name(parent) => Ok(Self::Below(parent)),
                Host::Ip(_) => Err(OpeningError::Host(text.to_owned())),
            },
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exactly(host) => host.fmt(f),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_about_one_host_all_below_a_domain_or_all() {
        for (pattern, about, not_about) in [
            ("A.test.", &["a.test"][..], &["b.a.test", "test", "xa.test"][..]),
            (
                "*.a.test",
                &["b.a.test", "c.b.a.test"],
                &["a.test", "xa.test", "a.test.b", "1.2.3.4"],
            ),
            ("*.bücher.test", &["a.xn--bcher-kva.test"], &["xn--bcher-kva.test"]),
            ("127.1", &["127.0.0.1"], &["127.0.0.2"]),
            ("[::1]", &["[::1]"], &["[::2]", "localhost"]),
            ("*", &["a.test", "localhost", "[::1]"], &[]),
        ] {
            let parsed: HostPattern = pattern.parse().unwrap();
            let is_about = |host: &&str| parsed.matches(&Host::parse(host).unwrap());
            assert!(about.iter().all(is_about), "{pattern}");
            assert!(!not_about.iter().any(is_about), "{pattern}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{pattern}");
        }
    }

    #[test]
    fn what_is_about_no_host_is_refused() {
        for text in ["", "*.", "a.*.test", "*a.test", "**.a.test", "*.1.2.3.4", "*.*.a", "a b"] {
            assert!(text.parse::<HostPattern>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn one_host_is_closer_than_a_domain_and_a_long_domain_than_a_short() {
        let close = |text: &str| text.parse::<HostPattern>().unwrap().closeness();
        assert!(close("a.b.test") > close("*.b.test") && close("*.b.test") > close("*.test"));
        assert!(close("*.test") > close("*"));
    }

    #[test]
    fn server_names_are_no_addresses() {
        let address = OpeningError::Address("192.0.2.1".to_owned());
        assert_eq!(HostPattern::server_name("192.0.2.1"), Err(address));
        assert_eq!(HostPattern::server_name("*"), Ok(HostPattern::Any));
    }
}
