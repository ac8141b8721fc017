//! What hosts and patterns of requests promise for any text.

use std::time::UNIX_EPOCH;

use http::Version;

use super::{
    Authority, Headers, Host, HostPort, RequestFacts, RequestPattern, Scheme,
    request_pattern::Asked,
};

/// Holds `bytes` to name no host, or one that every later reader reads alike.
pub fn authority(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(parsed) = HostPort::parse(text) else { return };
    let canonical = parsed.host.to_string();
    assert_eq!(Host::parse(&canonical).as_ref(), Ok(&parsed.host), "not canonical: {canonical:?}");
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.:[]".contains(&byte);
    assert!(canonical.bytes().all(plain) && !canonical.ends_with('.'), "{canonical:?}");
    if let Host::Ip(std::net::IpAddr::V6(ip)) = &parsed.host {
        assert_eq!(ip.to_ipv4_mapped(), None, "two forms of one address");
    }
    let written = match parsed.port {
        Some(port) => format!("{canonical}:{port}"),
        None => canonical.clone(),
    };
    assert_eq!(HostPort::parse(&written), Ok(parsed), "{written:?}");
    let uri: http::uri::Authority = written.parse().expect("it is fit for a request");
    assert_eq!(uri.host(), canonical);
    let url = url::Url::parse(&format!("http://{written}/")).expect("it is fit for a URL");
    assert_eq!(url.host_str(), Some(&*canonical));
}

/// Holds `bytes`, a pattern and the path of a request in two lines, to be matched as strictly as
/// allowances must be and as widely as refusals.
pub fn request_pattern(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (pattern, path) = text.split_once('\n').unwrap_or((text, "/"));
    let parsed = match pattern.parse::<RequestPattern>() {
        Ok(parsed) => parsed,
        Err(error) => {
            let columns = pattern.chars().count() + 1;
            return assert!((1..=columns).contains(&error.column), "{pattern:?}: {error}");
        }
    };
    assert_eq!(parsed.to_string().parse().as_ref(), Ok(&parsed), "{pattern:?}");
    let is_path = path.starts_with('/') && path.parse::<http::Uri>().is_ok();
    let Some(path) = path.split(['?', '#']).next().filter(|_| is_path) else { return };
    let facts = get(path);
    let (surely, may) = {
        let asked = Asked::new(&facts);
        (parsed.surely_has(&asked), parsed.may_have(&asked))
    };
    assert!(may || !surely, "a refusal is narrower than an allowance: {pattern:?} {path:?}");
    if surely && parsed.names_path() {
        let url = url::Url::parse(&facts.url()).expect("its parts are sound");
        let (sent, resolved) = (path.split('/').count(), url.path().split('/').count());
        assert_eq!(sent, resolved, "a path that leads elsewhere is allowed: {pattern:?} {path:?}");
    }
}

fn get(path: &str) -> RequestFacts {
    RequestFacts {
        method: "GET".to_owned(),
        scheme: Scheme::Https,
        authority: Authority::new(Host::parse("b.a.test").expect("a host"), 443),
        path: path.to_owned(),
        query: None,
        protocol: Some(Version::HTTP_11),
        headers: Headers::default(),
        requester: [127, 0, 0, 1].into(),
        process: None,
        time: UNIX_EPOCH,
    }
}
