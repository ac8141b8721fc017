//! `max_tx_bytes`: how much of a request may leave.

use super::{
    lab::{A_TEST, Lab, Setup, allow_bytes},
    origin::{Origin, echo},
};

const LIMIT: u64 = 200;

fn lab() -> Lab {
    Lab::start(Setup { rule: |_| allow_bytes(LIMIT), ..Setup::default() })
}

#[test]
fn a_request_within_its_limit_passes_whole() {
    let lab = lab();
    let origin = Origin::plain(echo);
    let port = origin.port();
    let head = |length: usize| {
        format!("POST / HTTP/1.1\r\nhost: a.test:{port}\r\ncontent-length: {length}\r\n\r\n")
    };
    let fits = LIMIT as usize - head(100).len();
    let request = head(fits) + &"x".repeat(fits);
    let mut client = lab.connect((A_TEST, port));
    assert_eq!(client.ask(&request).status, 200);
    assert_eq!(origin.request(), request);
    assert_eq!(request.len() as u64, LIMIT);
    let one_more = head(fits + 1) + &"x".repeat(fits + 1);
    assert_eq!(client.ask(&one_more).status, 413);
}

#[test]
fn a_limit_bounds_each_request_by_itself() {
    let lab = lab();
    let origin = Origin::plain(echo);
    let mut client = lab.connect((A_TEST, origin.port()));
    for _ in 0..3 {
        assert_eq!(client.get("a.test", &format!("/{}", "x".repeat(100))).status, 200);
    }
}

#[test]
fn a_limit_of_nothing_sends_nothing() {
    let lab = Lab::start(Setup { rule: |_| allow_bytes(0), ..Setup::default() });
    let origin = Origin::plain(echo);
    assert_eq!(lab.connect((A_TEST, origin.port())).get("a.test", "/").status, 413);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_body_known_to_be_larger_never_starts() {
    let lab = lab();
    let origin = Origin::plain(echo);
    let request = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n";
    let reply = lab.connect((A_TEST, origin.port())).ask(request);
    assert_eq!(reply.status, 413);
    let told = "Request body size (1000 bytes) exceeds maximum allowed (";
    assert!(reply.body.starts_with(told), "{}", reply.body);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_large_body_that_was_sent_already_does_not_hide_the_refusal() {
    let lab = lab();
    let origin = Origin::plain(echo);
    let body = "x".repeat(300_000);
    let length = body.len();
    let request =
        format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n{body}");
    assert_eq!(lab.connect((A_TEST, origin.port())).ask(&request).status, 413);
}

#[test]
fn a_head_that_is_too_large_never_starts() {
    let lab = lab();
    let origin = Origin::plain(echo);
    let reply =
        lab.connect((A_TEST, origin.port())).get("a.test", &format!("/{}", "x".repeat(200)));
    assert_eq!(reply.status, 413);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_body_of_unknown_length_is_cut() {
    let lab = lab();
    let origin = Origin::plain(echo);
    let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
    let request = format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(5)
    );
    assert_eq!(lab.connect((A_TEST, origin.port())).ask(&request).status, 200);
    let sent = origin.request();
    let (head, _) = sent.split_once("\r\n\r\n").unwrap();
    let body = sent.chars().filter(|letter| *letter == 'x').count();
    assert_eq!((head.len() + 4 + body) as u64, LIMIT);
}
