//! What hosts promise for any text.

use super::{Host, HostPort};

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
