//! The request that `--test` asks about, out of its words.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::SystemTime,
};

use http::Version;

use super::PlanError;
use crate::policy::{Authority, Headers, HostPort, RequestFacts, Scheme};

/// Reads `URL`, `METHOD URL` or both in one word, as a request that came from this machine.
pub(super) fn question(words: &[String]) -> Result<RequestFacts, PlanError> {
    let words: Vec<&str> = words.iter().flat_map(|word| word.split_ascii_whitespace()).collect();
    let (method, url) = match words[..] {
        [url] => (None, url),
        [method, url] => (Some(method.to_ascii_uppercase()), url),
        _ => return Err(PlanError::Url(words.join(" "))),
    };
    match method {
        Some(method) if http::Method::from_bytes(method.as_bytes()).is_err() => {
            Err(PlanError::Method(method))
        }
        Some(method) => facts(Some(method), url),
        None => facts(None, url),
    }
}

/// Takes a URL apart without normalising its path: the proxy shows rules the path as it was sent,
/// dot segments and all, so the answer here must be the answer there.
fn facts(method: Option<String>, url: &str) -> Result<RequestFacts, PlanError> {
    let not_a_url = || PlanError::Url(url.to_owned());
    let (scheme, rest) = url.split_once("://").ok_or_else(not_a_url)?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        "tcp" => return connection(Scheme::Tcp, method, url, rest),
        "tls" => return connection(Scheme::Tls, method, url, rest),
        _ => return Err(not_a_url()),
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let wrong = |source| PlanError::Authority { url: url.to_owned(), source };
    let named = HostPort::parse(authority).map_err(wrong)?;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    Ok(RequestFacts {
        method: method.unwrap_or_else(|| "GET".to_owned()),
        scheme,
        authority: Authority::new(named.host, named.port.unwrap_or(scheme.default_port())),
        path: path.to_owned(),
        query,
        protocol: Some(Version::HTTP_11),
        headers: Headers::default(),
        requester: IpAddr::V4(Ipv4Addr::LOCALHOST),
        process: None,
        time: SystemTime::now(),
    })
}

/// A connection as a whole: it has no method of its own, no path, and always a port.
fn connection(
    scheme: Scheme,
    method: Option<String>,
    url: &str,
    authority: &str,
) -> Result<RequestFacts, PlanError> {
    let wrong = |source| PlanError::Authority { url: url.to_owned(), source };
    let (HostPort { host, port: Some(port) }, None) =
        (HostPort::parse(authority).map_err(wrong)?, method)
    else {
        return Err(PlanError::Connection(url.to_owned()));
    };
    Ok(RequestFacts {
        method: scheme.as_str().to_ascii_uppercase(),
        scheme,
        authority: Authority::new(host, port),
        path: String::new(),
        query: None,
        protocol: None,
        headers: Headers::default(),
        requester: IpAddr::V4(Ipv4Addr::LOCALHOST),
        process: None,
        time: SystemTime::now(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str) -> (String, String) {
        let facts = question(&[url.to_owned()]).unwrap();
        (facts.url(), facts.path)
    }

    #[test]
    fn shows_the_rule_the_path_as_the_proxy_would() {
        assert_eq!(
            asked("http://A.test./pub/../secret?a=b#c"),
            ("http://a.test/pub/../secret?a=b".to_owned(), "/pub/../secret".to_owned())
        );
        assert_eq!(asked("https://a.test").1, "/");
        assert_eq!(asked("https://a.test:8443?x=1").0, "https://a.test:8443/?x=1");
    }

    #[test]
    fn asks_about_connections_by_their_targets() {
        let ask = |words: &[&str]| {
            question(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        for url in ["tcp://db.test:5432", "tls://[::1]:443"] {
            let facts = ask(&[url]).unwrap();
            assert_eq!((facts.url().as_str(), facts.path.as_str()), (url, ""));
        }
        for words in [&["tcp://db.test"][..], &["GET", "tcp://db.test:1"], &["tcp://db.test:1/x"]] {
            assert!(ask(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn refuses_what_names_no_host() {
        for url in ["a.test", "ftp://a.test/", "http://", "http://u:p@a.test/", "http://a:0/"] {
            assert!(question(&[url.to_owned()]).is_err(), "{url}");
        }
    }
}
