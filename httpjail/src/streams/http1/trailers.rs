//! Which fields may follow a body.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The trailers that the headers of a message announce, but for those that would change how it is
/// read (RFC 9110, 6.5.1).
pub(crate) fn announced_trailers(headers: &HeaderMap) -> Vec<HeaderName> {
    let names = headers.get_all(header::TRAILER).iter().flat_map(tokens);
    let names = names.filter_map(|name| HeaderName::from_bytes(name).ok());
    names.filter(|name| !is_of_the_head(name)).collect()
}

/// The elements of a list in a header.
pub(crate) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

fn is_of_the_head(name: &HeaderName) -> bool {
    const NAMES: [HeaderName; 17] = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::HOST,
        header::MAX_FORWARDS,
        header::PROXY_AUTHORIZATION,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    NAMES.contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
        || name.as_str().starts_with("httpjail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_trailers_follow() {
        let mut headers = HeaderMap::new();
        headers.append(header::TRAILER, HeaderValue::from_static("X-Sum, content-length, ,host"));
        headers.append(header::TRAILER, HeaderValue::from_static("grpc-status"));
        assert_eq!(announced_trailers(&headers), ["x-sum", "grpc-status"]);
    }
}
