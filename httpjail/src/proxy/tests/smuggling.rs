//! One request hidden in another: by its lengths, its encodings, its line ends, its chunks.

use super::attempt::{EVIL, Outcome, attempt, breaks_off};

const FIRST: &str = "POST /first HTTP/1.1\r\nHost: a.test\r\n";
const FIRST_ALLOWED: &str = "+ POST http://a.test:PORT/first";
const EVIL_DENIED: &str = "- GET http://a.test:PORT/EVIL";
const REFUSED: &str = "- HTTP http://a.test:PORT";
const FIRST_SEEN: &str = "POST http://a.test:PORT/first";

#[test]
fn what_follows_a_well_framed_request_is_judged_by_itself() {
    for framing in [
        "\r\n",
        "Content-Length: 0\r\n\r\n",
        "Content-Length:0\r\n\r\n",
        "Content-Length: \t 5 \t\r\n\r\nhello",
        "Content-Length: 005\r\n\r\nhello",
        "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "Content-Length: 5\r\nConnection: Content-Length\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\tCHUNKED\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n\r\n0\r\n\r\n",
        // A bare LF ends a line, as RFC 9112, 2.2 lets it, and is CR LF when it goes on.
        "X: 1\nTransfer-Encoding: chunked\n\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0;a=b;c=\"d\"\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0005 \t;a\r\nhello\r\n000\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0\r\nHost: b.test\r\n\r\n",
        "Trailer: Host\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b.test\r\n\r\n",
        "Trailer: Content-Length, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\
         Connection: Upgrade, HTTP2-Settings\r\nContent-Length: 0\r\n\r\n",
        "Upgrade: TLS/1.0\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
        "Upgrade: connect-udp\r\nConnection: Upgrade\r\nCapsule-Protocol: ?1\r\n\
         Content-Length: 0\r\n\r\n",
        "Expect: 200-ok\r\nContent-Length: 0\r\n\r\n",
    ] {
        eprintln!("{framing:?}");
        let outcome = attempt(format!("{FIRST}{framing}{EVIL}").as_bytes(), 2);
        let expected = Outcome::new(&[200, 403], &[FIRST_ALLOWED, EVIL_DENIED], &[FIRST_SEEN]);
        assert_eq!(outcome, expected, "{framing:?}");
    }
}

#[test]
fn nothing_is_read_behind_a_body_of_two_lengths() {
    // The encoding counts, and the connection ends (RFC 9112, 6.1).
    for lengths in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 6",
        "Transfer-Encoding: chunked\r\nContent-Length: x",
        "Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\nContent-Length: 6",
    ] {
        let outcome = attempt(format!("{FIRST}{lengths}\r\n\r\n0\r\n\r\n{EVIL}").as_bytes(), 1);
        let expected = Outcome::new(&[200], &[FIRST_ALLOWED], &[FIRST_SEEN]);
        assert_eq!(outcome, expected, "{lengths:?}");
    }
}

#[test]
fn heads_that_two_programs_could_read_differently_are_refused() {
    for head in [
        &b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n"[..],
        b"Content-Length: 40\r\nContent-Length: 0\r\n\r\n",
        b"Content-Length: +0\r\n\r\n",
        b"Content-Length: -0\r\n\r\n",
        b"Content-Length: 0x0\r\n\r\n",
        b"Content-Length: 0, 0\r\n\r\n",
        b"Content-Length: 0 0\r\n\r\n",
        b"Content-Length: 0;\r\n\r\n",
        b"Content-Length: 1e1\r\n\r\n",
        b"Content-Length: \xd9\xa0\r\n\r\n",
        b"Content-Length:\r\n\r\n",
        b"Content-Length: 18446744073709551616\r\n\r\n",
        b"Content-Length: 99999999999999999999\r\n\r\n",
        b"Content-Length : 0\r\n\r\n",
        b"Content-Length\0: 0\r\n\r\n",
        b"Content-Length\r\n\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 6\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-\xc4\xb0: chunked\r\n\r\n0\r\n\r\n",
        b"X: 1\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"X: 1\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        b"X: 1\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"X: 1\r\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"X: \0\r\n\r\n",
        b"X: \x7f\r\n\r\n",
        b"X: \x1b[2J\r\n\r\n",
        b": x\r\n\r\n",
        b"X Y: x\r\n\r\n",
    ] {
        let shown = head.escape_ascii();
        eprintln!("{shown}");
        let bytes = [FIRST.as_bytes(), head, EVIL.as_bytes()].concat();
        assert_eq!(attempt(&bytes, 1), Outcome::new(&[400], &[REFUSED], &[]), "{shown}");
    }
    let old = format!(
        "POST /first HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{EVIL}"
    );
    assert_eq!(attempt(old.as_bytes(), 1), Outcome::new(&[400], &[REFUSED], &[]));
}

#[test]
fn chunks_that_two_programs_could_read_differently_end_the_connection() {
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(64 * 1024));
    for chunks in [
        "-1\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        &long,
    ] {
        eprintln!("{:.40?}", chunks);
        let framing = "Transfer-Encoding: chunked\r\n\r\n";
        breaks_off(format!("{FIRST}{framing}{chunks}{EVIL}").as_bytes());
    }
}

#[test]
fn a_body_that_nobody_framed_is_no_request() {
    // A name that only looks like it, and a second request that isn't one.
    for head in ["Transfer_Encoding: chunked\r\n\r\n", "X-Content-Length: 5\r\n\r\n"] {
        let outcome = attempt(format!("{FIRST}{head}0\r\n\r\n{EVIL}").as_bytes(), 2);
        let expected = Outcome::new(&[200, 400], &[FIRST_ALLOWED, REFUSED], &[FIRST_SEEN]);
        assert_eq!(outcome, expected, "{head:?}");
    }
}
