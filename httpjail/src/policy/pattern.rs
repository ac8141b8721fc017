//! Which hosts an option is about: one, or all below a domain.

use std::{fmt, str::FromStr};

use super::{AuthorityError, Host};

/// `a.test` is that host alone; `*.a.test` all names below it, at any depth, and not itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// This host.
    One(Host),
    /// All names below this domain.
    Below(String),
}

impl OriginPattern {
    /// Whether it is about `host`.
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::One(one), host) => one == host,
            (Self::Below(domain), Host::Name(name)) => is_below(name, domain),
            (Self::Below(_), Host::Ip(_)) => false,
        }
    }

    /// Of two patterns about the same host, the closer one is greater.
    pub fn closeness(&self) -> usize {
        match self {
            Self::One(_) => usize::MAX,
            Self::Below(domain) => domain.len(),
        }
    }
}

/// Whether `name` is below `domain`; both are canonical.
pub fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

impl FromStr for OriginPattern {
    type Err = AuthorityError;

    fn from_str(text: &str) -> Result<Self, AuthorityError> {
        let Some(domain) = text.strip_prefix("*.") else {
            return Host::parse(text).map(Self::One);
        };
        match Host::parse(domain)? {
            Host::Name(domain) => Ok(Self::Below(domain)),
            Host::Ip(_) => Err(AuthorityError::Host),
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(host) => host.fmt(f),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_about_one_host_or_all_below_a_domain() {
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
        ] {
            let parsed: OriginPattern = pattern.parse().unwrap();
            let is_about = |host: &&str| parsed.matches(&Host::parse(host).unwrap());
            assert!(about.iter().all(is_about), "{pattern}");
            assert!(!not_about.iter().any(is_about), "{pattern}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{pattern}");
        }
    }

    #[test]
    fn what_is_about_no_host_is_refused() {
        for text in ["", "*", "*.", "a.*.test", "*a.test", "**.a.test", "*.1.2.3.4", "*.*.a", "a b"]
        {
            assert!(text.parse::<OriginPattern>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn one_host_is_closer_than_a_domain_and_a_long_domain_than_a_short() {
        let close = |text: &str| text.parse::<OriginPattern>().unwrap().closeness();
        assert!(close("a.b.test") > close("*.b.test") && close("*.b.test") > close("*.test"));
    }
}
