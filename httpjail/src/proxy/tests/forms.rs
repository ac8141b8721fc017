//! Request lines, targets, heads and switches of protocol as an attacker writes them.

use super::attempt::{EVIL, Outcome, attempt};

const REFUSED: &str = "- HTTP http://a.test:PORT";

/// What comes of a head that the parser refuses when it follows a good request.
fn refused_behind_another(line: &str, status: u16) {
    let first = "GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let outcome = attempt(format!("{first}{line}{EVIL}").as_bytes(), 2);
    let records = ["+ GET http://a.test:PORT/1", REFUSED];
    let expected = Outcome::new(&[200, status], &records, &["GET http://a.test:PORT/1"]);
    assert_eq!(outcome, expected, "{line:.60?}");
}

#[test]
fn odd_request_lines_are_refused() {
    for line in [
        "GET /\0 HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET /\x7f HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET /\t HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET /\r HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GE(T / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET / HTTP/0.9\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a.test\r\n\r\n",
        "GET / http/1.1\r\nHost: a.test\r\n\r\n",
        "GET / HTTP/1.1 x\r\nHost: a.test\r\n\r\n",
        "GET /\r\n\r\n",
    ] {
        eprintln!("{line:?}");
        // On its own it isn't even taken for HTTP.
        let outcome = attempt(format!("{line}{EVIL}").as_bytes(), 0);
        assert_eq!(outcome, Outcome::new(&[], &["- TCP tcp://a.test:PORT"], &[]), "{line:?}");
        refused_behind_another(line, 400);
    }
}

#[test]
fn heads_have_a_limit_wherever_they_stand() {
    let line = format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "x".repeat(70_000));
    refused_behind_another(&line, 414);
    let head = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
    let many = head(&"X: y\r\n".repeat(20_000));
    refused_behind_another(&many, 431);
    assert_eq!(attempt(many.as_bytes(), 1), Outcome::new(&[431], &[REFUSED], &[]));
    let long = head(&format!("X: {}\r\n", "y".repeat(600 * 1024)));
    assert_eq!(attempt(long.as_bytes(), 1), Outcome::new(&[431], &[REFUSED], &[]));
}

#[test]
fn each_request_on_a_connection_is_judged_for_its_own_host() {
    let bytes = b"GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n\
                  GET /2 HTTP/1.1\r\nHost: b.test:PORT\r\n\r\n\
                  GET /EVIL HTTP/1.1\r\nHost: b.test\r\n\r\n\
                  GET /3 HTTP/1.1\r\nHost: c.test\r\n\r\n\
                  GET http://127.0.0.1:PORT/4 HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n";
    let records = [
        "+ GET http://a.test:PORT/1",
        "+ GET http://b.test:PORT/2",
        "- GET http://b.test:PORT/EVIL",
        "- GET http://c.test:PORT/3",
        "+ GET http://127.0.0.1:PORT/4",
    ];
    let seen =
        ["GET http://a.test:PORT/1", "GET http://b.test:PORT/2", "GET http://127.0.0.1:PORT/4"];
    assert_eq!(attempt(bytes, 5), Outcome::new(&[200, 200, 403, 403, 200], &records, &seen));
}

#[test]
fn nothing_is_read_behind_a_connect_that_is_refused() {
    for (target, host) in [
        ("b.test:443", "a.test"),
        ("b.test:443", "b.test:80"),
        ("a.test:22", "a.test:443"),
        ("a.test:PORT", "proxy.test:3128"),
        ("[::1]:443", "a.test"),
        ("a.test", "a.test"),
        ("a.test:0", "a.test:0"),
        ("http://a.test:443/", "a.test:443"),
    ] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let outcome = attempt(format!("{request}{EVIL}").as_bytes(), 1);
        assert_eq!(outcome, Outcome::new(&[400], &[REFUSED], &[]), "{request:?}");
    }
}

#[test]
fn absolute_targets_agree_with_the_host_header_or_are_refused() {
    let judged = "+ GET http://a.test:PORT/x";
    for (target, host) in [
        ("http://a.test:PORT/x", "a.test:PORT"),
        ("HTTP://A.TEST.:PORT/x", "a.test:PORT"),
        ("http://a.test:PORT/x", "A.Test.:PORT"),
        ("/x#fragment", "a.test"),
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let expected = Outcome::new(&[200], &[judged], &["GET http://a.test:PORT/x"]);
        assert_eq!(attempt(bytes.as_bytes(), 1), expected, "{bytes:?}");
    }
    for (target, host) in [
        ("http://a.test:PORT/x", "b.test:PORT"),
        ("http://a.test:PORT/x", "a.test"),
        ("http://b.test:PORT/x", "a.test:PORT"),
        ("http://u@a.test:PORT/x", "a.test:PORT"),
        ("http://a.test:PORT@b.test:PORT/x", "b.test:PORT"),
        ("http://a.test:PORT%40b.test/x", "a.test:PORT"),
        ("http://a.test:/x", "a.test"),
        ("http:///x", "a.test"),
        ("http:/x", "a.test"),
        ("https://a.test:PORT/x", "a.test:PORT"),
        ("ftp://a.test:PORT/x", "a.test:PORT"),
        ("a.test:PORT", "a.test:PORT"),
        ("http://[::1%25lo]:PORT/x", "[::1%25lo]:PORT"),
        ("*", "a.test"),
        ("x", "a.test"),
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n{EVIL}");
        eprintln!("{bytes:?}");
        assert_eq!(attempt(bytes.as_bytes(), 1), Outcome::new(&[400], &[REFUSED], &[]));
    }
    // A path, however much it looks like a host.
    let outcome = attempt(b"GET //b.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n", 1);
    let url = "http://a.test:PORT//b.test/x";
    assert_eq!(outcome, Outcome::new(&[200], &[&format!("+ GET {url}")], &[&format!("GET {url}")]));
}
