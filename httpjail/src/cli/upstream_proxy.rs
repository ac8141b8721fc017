//! `--upstream-proxy`, and the variables by which programs are told of a proxy.

use std::{ffi::OsString, str::FromStr};

use percent_encoding::percent_decode_str;
use url::Url;

use crate::{
    policy::{Authority, Host},
    upstream::{ExceptedHosts, Exception, Proxies, Proxy},
};

/// `--upstream-proxy URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UpstreamProxy {
    /// None, whatever the environment says.
    None,
    /// This one for all.
    All(Proxy),
}

/// Why a text names no proxy. It may hold a password, so it isn't repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProxyUrlError {
    /// Not a URL of a proxy.
    #[error("expected a URL such as http://user:password@proxy.test:3128, or none")]
    Form,
    /// A proxy that speaks something else.
    #[error("only http:// proxies can be used, not {0}")]
    Scheme(KnownScheme),
}

/// What proxies there are besides those of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KnownScheme {
    /// SOCKS in its versions.
    Socks,
    /// HTTP inside TLS.
    Https,
    /// Something else.
    Other,
}

impl std::fmt::Display for KnownScheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Socks => "SOCKS",
            Self::Https => "https://",
            Self::Other => "others",
        })
    }
}

/// A variable that names no proxy.
#[derive(Debug, thiserror::Error)]
#[error("use the proxy that {variable} names")]
pub struct VariableError {
    variable: &'static str,
    source: ProxyUrlError,
}

impl FromStr for UpstreamProxy {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        if text == "none" { Ok(Self::None) } else { proxy(text).map(Self::All) }
    }
}

/// The proxies that the option names, or else the caller's environment. What `NO_PROXY` excepts is
/// excepted from the option's, too.
///
/// Names in lower case win, as with curl. That one reads no `HTTP_PROXY`, which a web server sets
/// to what a client sent as `Proxy:`; httpjail is never started like that.
///
/// # Errors
///
/// When a variable that counts names no proxy that can be used: requests would go another way than
/// they are meant to.
pub(super) fn proxies(
    option: Option<UpstreamProxy>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Proxies, VariableError> {
    let text = |name: &str| {
        let value =
            variable(name)?.into_string().unwrap_or_else(|raw| raw.to_string_lossy().into());
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let first = |names: [&'static str; 4]| {
        let found = names.into_iter().find_map(|name| Some((name, text(name)?)));
        let read = |(variable, text): (_, String)| {
            proxy(&text).map_err(|source| VariableError { variable, source })
        };
        found.map(read).transpose()
    };
    let (http, https) = match option {
        Some(UpstreamProxy::None) => return Ok(Proxies::default()),
        Some(UpstreamProxy::All(proxy)) => (Some(proxy.clone()), Some(proxy)),
        None => (
            first(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])?,
            first(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
        ),
    };
    let except = text("no_proxy").or_else(|| text("NO_PROXY")).unwrap_or_default();
    Ok(Proxies { http, https, except: exceptions(&except) })
}

/// Reads `http://user:password@host:port`; the scheme may be left out.
fn proxy(text: &str) -> Result<Proxy, ProxyUrlError> {
    let with_scheme = if text.contains("://") { text.into() } else { format!("http://{text}") };
    let url = Url::parse(&with_scheme).map_err(|_| ProxyUrlError::Form)?;
    match url.scheme() {
        "http" => {}
        "https" => return Err(ProxyUrlError::Scheme(KnownScheme::Https)),
        scheme if scheme.starts_with("socks") => {
            return Err(ProxyUrlError::Scheme(KnownScheme::Socks));
        }
        _ => return Err(ProxyUrlError::Scheme(KnownScheme::Other)),
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(ProxyUrlError::Form);
    }
    let host = url.host_str().and_then(|host| Host::parse(host).ok()).ok_or(ProxyUrlError::Form)?;
    let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(ProxyUrlError::Form)?;
    let authority = Authority::new(host, port);
    let (name, password) = (url.username(), url.password());
    if name.is_empty() && password.is_none() {
        return Ok(Proxy::new(authority, None));
    }
    let name: Vec<u8> = percent_decode_str(name).collect();
    let password: Vec<u8> = percent_decode_str(password.unwrap_or_default()).collect();
    Ok(Proxy::new(authority, Some((&name, &password))))
}

/// Reads `NO_PROXY`: names with all below them, addresses, networks, each perhaps with a port; `*` is
/// everything. What can't be read is passed over, as every program does.
fn exceptions(text: &str) -> Vec<Exception> {
    let entries = text.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
    entries.filter_map(exception).collect()
}

fn exception(entry: &str) -> Option<Exception> {
    let whole = |hosts| Some(Exception { hosts, port: None });
    if entry == "*" {
        return whole(ExceptedHosts::All);
    }
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    if let Ok(net) = bare.parse() {
        return whole(ExceptedHosts::Net(net));
    }
    if let Ok(ip) = bare.parse::<std::net::IpAddr>() {
        return whole(ExceptedHosts::Net(ip.to_canonical().into()));
    }
    let name = entry.strip_prefix("*.").or_else(|| entry.strip_prefix('.')).unwrap_or(entry);
    let named = crate::policy::HostPort::parse(name).ok()?;
    let hosts = match named.host {
        Host::Name(name) => ExceptedHosts::Domain(name),
        Host::Ip(ip) => ExceptedHosts::Net(ip.into()),
    };
    Some(Exception { hosts, port: named.port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Authority {
        Authority::new(Host::parse(host).unwrap(), port)
    }

    #[test]
    fn reads_urls_of_proxies() {
        for (text, authority, user) in [
            ("http://p.test:3128", at("p.test", 3128), None),
            ("http://P.test:3128/", at("p.test", 3128), None),
            ("http://p.test", at("p.test", 80), None),
            ("p.test:3128", at("p.test", 3128), None),
            ("u:p@127.0.0.1:8", at("127.0.0.1", 8), Some((&b"u"[..], &b"p"[..]))),
            ("http://[::1]:3128", at("[::1]", 3128), None),
            ("http://u@p.test:1", at("p.test", 1), Some((b"u", b""))),
            ("http://u%40x:%3a%ff@p.test:1", at("p.test", 1), Some((b"u@x", b":\xff"))),
        ] {
            assert_eq!(text.parse(), Ok(UpstreamProxy::All(Proxy::new(authority, user))), "{text}");
        }
        assert_eq!("none".parse(), Ok(UpstreamProxy::None));
    }

    #[test]
    fn refuses_what_names_no_proxy_and_repeats_no_password() {
        for text in [
            "",
            "http://",
            "http://u:secret@",
            "http://u:secret@p.test:0",
            "http://u:secret@p.test:99999",
            "http://u:secret@p.test/path",
            "http://u:secret@p.test/?query",
            "https://u:secret@p.test:443",
            "socks5h://u:secret@p.test:1080",
            "ftp://u:secret@p.test",
            "u:secret@p q:1",
        ] {
            let error = text.parse::<UpstreamProxy>().unwrap_err();
            assert!(!error.to_string().contains("secret"), "{text}");
        }
    }

    fn from(option: Option<&str>, variables: &[(&str, &str)]) -> Result<Proxies, VariableError> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        let option = option.map(|text| text.parse().unwrap());
        proxies(option, |name| find(name).map(|(_, value)| value.into()))
    }

    /// The hosts of the two proxies.
    fn hosts(proxies: &Proxies) -> [String; 2] {
        let show = |proxy: &Option<Proxy>| proxy.as_ref().map_or("-".into(), Proxy::to_string);
        [show(&proxies.http), show(&proxies.https)]
    }

    #[test]
    fn the_option_wins_then_lower_case_then_upper_case_then_the_one_for_all() {
        let all = [("ALL_PROXY", "e:1"), ("HTTPS_PROXY", "d:1"), ("HTTP_PROXY", "c:1")];
        let lower = [("https_proxy", "b:1"), ("http_proxy", "a:1"), ("all_proxy", "f:1")];
        let both = [&all[..], &lower].concat();
        for (option, variables, expected) in [
            (None, &[][..], ["-", "-"]),
            (None, &all, ["http://c:1", "http://d:1"]),
            (None, &all[..2], ["http://e:1", "http://d:1"]),
            (None, &both, ["http://a:1", "http://b:1"]),
            (None, &lower[..1], ["-", "http://b:1"]),
            (None, &[("HTTPS_PROXY", " "), ("https_proxy", "")], ["-", "-"]),
            (Some("x:1"), &both, ["http://x:1", "http://x:1"]),
            (Some("none"), &both, ["-", "-"]),
        ] {
            let found = from(option, variables).unwrap();
            assert_eq!(hosts(&found), expected, "{option:?} {variables:?}");
        }
    }

    #[test]
    fn a_variable_that_cannot_be_used_is_named_unless_it_does_not_count() {
        let socks = ("all_proxy", "socks5://u:secret@p:1");
        let error = from(None, &[socks]).unwrap_err();
        assert_eq!(error.to_string(), "use the proxy that all_proxy names");
        assert_eq!(error.source, ProxyUrlError::Scheme(KnownScheme::Socks));
        assert!(from(Some("none"), &[socks]).is_ok());
        assert!(from(None, &[socks, ("http_proxy", "a:1"), ("https_proxy", "a:1")]).is_ok());
    }

    #[test]
    fn reads_exceptions() {
        let domain =
            |name: &str, port| Exception { hosts: ExceptedHosts::Domain(name.to_owned()), port };
        let net =
            |net: &str| Exception { hosts: ExceptedHosts::Net(net.parse().unwrap()), port: None };
        let found = from(
            Some("p:1"),
            &[(
                "NO_PROXY",
                "a.test, .B.test,*.c.test d.test:8443,10.0.0.0/8,1.2.3.4,[::1],::2,a b/",
            )],
        );
        let expected = [
            domain("a.test", None),
            domain("b.test", None),
            domain("c.test", None),
            domain("d.test", Some(8443)),
            net("10.0.0.0/8"),
            net("1.2.3.4/32"),
            net("::1/128"),
            net("::2/128"),
            domain("a", None),
        ];
        assert_eq!(found.unwrap().except, expected);
        let all = from(Some("p:1"), &[("no_proxy", "*"), ("NO_PROXY", "a.test")]).unwrap().except;
        assert_eq!(all, [Exception { hosts: ExceptedHosts::All, port: None }]);
    }
}
