//! Tells the protocol of a connection by its first bytes.

/// What the bytes so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Several protocols still fit.
    NeedMore,
    /// A TLS handshake record.
    Tls,
    /// A whole HTTP/1 request line.
    Http1,
    /// The preface of HTTP/2 without TLS.
    Http2,
    /// Anything else.
    Opaque,
}

/// The longest request line that is waited for: a little more than the longest target that the
/// HTTP parser takes, so that the parser is the one to refuse it by name.
const LONGEST_LINE: usize = 72 * 1024;
/// The longest registered method has 17 letters.
const LONGEST_METHOD: usize = 32;

/// Tells the protocol of a connection that begins with `bytes`. A verdict never changes when more
/// bytes come.
pub(super) fn sniff(bytes: &[u8]) -> Protocol {
    match bytes {
        [] | [0x16] | [0x16, 0x03] => Protocol::NeedMore,
        [0x16, 0x03, version, ..] if *version <= 4 => Protocol::Tls,
        _ => sniff_http(bytes),
    }
}

fn sniff_http(bytes: &[u8]) -> Protocol {
    // Empty lines before a request are ignored (RFC 9112, 2.2).
    let start = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len());
    let (blank, rest) = bytes.split_at(start);
    if blank.len() > 8 {
        return Protocol::Opaque;
    }
    let line = rest.split(|b| *b == b'\n').next().unwrap_or(rest);
    let complete = line.len() < rest.len();
    if line.len() > LONGEST_LINE {
        return Protocol::Opaque;
    }
    match (classify(line), complete) {
        (Line::Whole(protocol), true) => protocol,
        (Line::Whole(_) | Line::Begun, false) => Protocol::NeedMore,
        (Line::Begun, true) | (Line::Other, _) => Protocol::Opaque,
    }
}

enum Line {
    Whole(Protocol),
    Begun,
    Other,
}

/// Compares `line` with `METHOD SP TARGET SP HTTP/1.x`, the last part perhaps with a CR behind it.
fn classify(line: &[u8]) -> Line {
    let mut parts = line.splitn(3, |b| *b == b' ');
    let method = parts.next().unwrap_or_default();
    if method.len() > LONGEST_METHOD || !method.iter().all(|b| is_token(*b)) {
        return Line::Other;
    }
    let Some(target) = parts.next() else {
        return Line::Begun;
    };
    if method.is_empty() || target.iter().any(|b| b.is_ascii_control()) {
        return Line::Other;
    }
    let Some(version) = parts.next() else {
        return Line::Begun;
    };
    match version {
        _ if target.is_empty() => Line::Other,
        b"HTTP/1.1" | b"HTTP/1.0" | b"HTTP/1.1\r" | b"HTTP/1.0\r" => Line::Whole(Protocol::Http1),
        b"HTTP/2.0" | b"HTTP/2.0\r" if method == b"PRI" => Line::Whole(Protocol::Http2),
        _ if b"HTTP/1.".starts_with(version) || b"HTTP/2.0".starts_with(version) => Line::Begun,
        _ => Line::Other,
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn protocols_are_told_by_their_first_bytes() {
        for (bytes, protocol) in [
            (&b"GET / HTTP/1.1\r\n"[..], Protocol::Http1),
            (b"\r\nGET / HTTP/1.0\n", Protocol::Http1),
            (b"M-SEARCH http://a.test/?q HTTP/1.1\r\nHost: a", Protocol::Http1),
            (b"CONNECT a.test:443 HTTP/1.1\r\n", Protocol::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol::Http2),
            (b"\x16\x03\x01", Protocol::Tls),
            (b"\x16\x03\x03\x00\x01\x01", Protocol::Tls),
            (b"\x16\x03\x05", Protocol::Opaque),
            (b"\x16\x02", Protocol::Opaque),
            (b"\x80\x2e\x01\x03\x01", Protocol::Opaque),
            (b"SSH-2.0-OpenSSH_9.2 x\r\n", Protocol::Opaque),
            (b"SSH-2.0-x y\r\n", Protocol::Opaque),
            (b"EHLO a.test\r\n", Protocol::Opaque),
            (b"GET /\r\n", Protocol::Opaque),
            (b"GET / HTTP/0.9\r\n", Protocol::Opaque),
            (b"GET / HTTP/1.10\r\n", Protocol::Opaque),
            (b"GET / HTTP/2.0\r\n", Protocol::Opaque),
            (b"GET  / HTTP/1.1\r\n", Protocol::Opaque),
            (b"GET / HTTP/1.1 \r\n", Protocol::Opaque),
            (b"GET / HTTP/1.1\r\r\n", Protocol::Opaque),
            (b" GET / HTTP/1.1\r\n", Protocol::Opaque),
            (b"GE\0T / HTTP/1.1\r\n", Protocol::Opaque),
            (b"\n\n\n\n\n\n\n\n\n", Protocol::Opaque),
            (b"\0", Protocol::Opaque),
        ] {
            assert_eq!(sniff(bytes), protocol, "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn every_prefix_of_a_request_line_waits_for_more() {
        for line in
            [&b"GET /path?query HTTP/1.1\r\n"[..], b"\r\nPOST / HTTP/1.0\n", b"PRI * HTTP/2.0\r\n"]
        {
            for end in 0..line.len() {
                let prefix = &line[..end];
                assert_eq!(sniff(prefix), Protocol::NeedMore, "{}", prefix.escape_ascii());
            }
        }
    }

    #[test]
    fn endless_lines_are_given_up() {
        assert_eq!(sniff(&[b'a'; 33]), Protocol::Opaque);
        let mut line = b"GET /".to_vec();
        line.resize(LONGEST_LINE, b'a');
        assert_eq!(sniff(&line), Protocol::NeedMore);
        line.push(b'a');
        assert_eq!(sniff(&line), Protocol::Opaque);
    }

    proptest! {
        #[test]
        fn a_verdict_never_changes(bytes in proptest::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b' '), Just(0x16), Just(3), any::<u8>()], 0..40)
        ) {
            let mut verdict = Protocol::NeedMore;
            for end in 0..=bytes.len() {
                let next = sniff(&bytes[..end]);
                prop_assert!(verdict == Protocol::NeedMore || verdict == next);
                verdict = next;
            }
        }
    }
}
