//! Interim answers: 100 when the origin asks for the body, and what else comes before an answer.

use std::net::TcpListener;

use super::{
    http2_origin::Origin2,
    lab::{A_TEST, Lab, Setup},
    origin::Origin,
    wire::{Client, Hello},
};

const EXPECT: &str = "PUT /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\
    Expect: 100-continue\r\n\r\n";

fn answer(status: u16) -> String {
    format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")
}

/// A proxy, a client that has sent `request`, and the origin's end, which has read the head.
fn asked(request: &str) -> (Lab, Client, Client) {
    let lab = Lab::start(Setup::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = lab.connect((A_TEST, listener.local_addr().unwrap().port()));
    client.send(request);
    let mut origin = Client::new(listener.accept().unwrap().0);
    origin.until(b"\r\n\r\n");
    (lab, client, origin)
}

#[test]
fn hints_of_an_origin_of_http2_reach_a_client_of_http1() {
    let (origin, root) = Origin2::tls(&["h2"]);
    let lab = Lab::start(Setup { extra_ca: vec![root], ..Setup::default() });
    let client = lab.connect((A_TEST, origin.port()));
    let mut client = client.tls(&lab.authority, Hello::to("a.test"));
    client.send("GET /hints HTTP/1.1\r\nHost: a.test\r\n\r\n");
    for number in ["0", "1", "2"] {
        let hint = client.reply(false);
        assert_eq!((hint.status, hint.header("link")), (103, vec![number]));
    }
    assert_eq!(client.reply(false).status, 200);
}

#[test]
fn the_body_is_asked_for_once_the_origin_has_asked() {
    let (_lab, mut client, mut origin) = asked(EXPECT);
    assert_eq!(origin.take_unread(), b"");
    origin.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.reply(false).status, 100);
    client.send("hello");
    assert_eq!(origin.until(b"hello"), "hello");
    origin.send(answer(201));
    assert_eq!(client.reply(false).status, 201);
}

#[test]
fn an_origin_that_wants_no_body_gets_none() {
    for status in [417, 401, 200] {
        let (_lab, mut client, mut origin) = asked(EXPECT);
        origin.send(answer(status));
        let reply = client.reply(false);
        assert_eq!((reply.status, reply.header("connection")), (status, vec!["close"]));
        // What the client sends all the same is no request.
        client.send("GET /").half_close();
        assert_eq!(client.rest().unwrap_or_default(), "");
        assert_eq!(origin.rest().unwrap_or_default(), "");
    }
}

#[test]
fn an_origin_that_does_not_know_the_question_gets_the_body_in_a_while() {
    let (_lab, mut client, mut origin) = asked(EXPECT);
    assert_eq!(client.reply(false).status, 100);
    client.send("hello");
    assert_eq!(origin.until(b"hello"), "hello");
    origin.send(answer(200));
    assert_eq!(client.reply(false).status, 200);
}

#[test]
fn expectations_of_other_kinds_are_left_out() {
    for (version, expectation) in [
        ("1.1", "Expect: 200-ok\r\n"),
        ("1.1", "Expect: 100-continue\r\nExpect: 100-continue\r\n"),
        ("1.0", "Expect: 100-continue\r\n"),
    ] {
        let lab = Lab::start(Setup::default());
        let origin = Origin::plain(|_| Some(answer(200).into()));
        let request = format!(
            "PUT /x HTTP/{version}\r\nHost: a.test\r\n{expectation}Content-Length: 5\r\n\r\nhello"
        );
        let mut client = lab.connect((A_TEST, origin.port()));
        client.send(request);
        let mut reply = client.reply(false);
        // Of two, which are no expectation that is passed on, the second is answered.
        if reply.status == 100 {
            reply = client.reply(false);
        }
        assert_eq!(reply.status, 200);
        assert!(!origin.request().contains("expect"), "{}", origin.request());
        assert!(origin.request().ends_with("\r\n\r\nhello"), "{}", origin.request());
    }
}

#[test]
fn early_hints_come_early() {
    let (_lab, mut client, mut origin) = asked("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    for number in 0..40 {
        origin.send(format!(
            "HTTP/1.1 103 Early Hints\r\nLink: </{number}>\r\nAlt-Svc: h3\r\n\
             Connection: x-hop\r\nX-Hop: 1\r\n\r\n"
        ));
        // Before the origin says anything more.
        let hint = client.reply(false);
        assert_eq!(hint.head, format!("HTTP/1.1 103 Early Hints\r\nlink: </{number}>\r\n\r\n"));
    }
    origin.send("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n");
    origin.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.reply(false).status, 102);
    assert_eq!(client.reply(false).status, 199);
    assert_eq!(client.reply(false).body, "ok");
}

/// Hints and the answer in one piece; `/quiet` has none.
fn hint(request: &str) -> Option<Vec<u8>> {
    let path = request.split(' ').nth(1)?;
    let hints = if path == "/quiet" { 0 } else { 3 };
    let hint = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    let length = path.len();
    Some(
        format!("{}HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{path}", hint.repeat(hints))
            .into(),
    )
}

#[test]
fn hints_stand_before_their_own_answer_and_behind_the_one_before() {
    let (origin, root) = Origin::tls(hint, "a.test");
    let lab = Lab::start(Setup { extra_ca: vec![root], ..Setup::default() });
    let mut client = lab.connect((A_TEST, origin.port())).tls(&lab.authority, Hello::to("a.test"));
    let paths = ["/a", "/quiet", "/b", "/c", "/quiet"];
    let requests = paths.map(|path| format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    client.send(requests.concat());
    for path in paths {
        let hints = if path == "/quiet" { 0 } else { 3 };
        for _ in 0..hints {
            assert_eq!(client.reply(false).status, 103);
        }
        assert_eq!(client.reply(false).body, path);
    }
    assert_eq!(client.take_unread(), b"");
}

#[test]
fn http_1_0_knows_no_hints() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(hint));
    let mut client = lab.connect((A_TEST, origin.port()));
    assert_eq!(client.ask("GET /a HTTP/1.0\r\nHost: a.test\r\n\r\n").status, 200);
}

#[test]
fn a_flood_of_hints_neither_grows_nor_hides_the_answer() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(|_| {
        let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(1000));
        Some((hint.repeat(1000) + &answer(200)).into_bytes())
    });
    let mut client = lab.connect((A_TEST, origin.port()));
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut hints = 0;
    while client.reply(false).status == 103 {
        hints += 1;
    }
    assert!((1..=1000).contains(&hints), "{hints}");
}

/// The answer's body comes in pieces, long after the request's was given up.
#[test]
fn an_origin_that_wants_no_body_is_heard_to_the_end() {
    let (_lab, mut client, mut origin) = asked(EXPECT);
    origin.send("HTTP/1.1 401 X\r\nContent-Length: 2000000\r\n\r\nfirst.");
    client.until(b"first.");
    origin.send("x".repeat(2_000_000 - "first.".len()));
    assert_eq!(client.rest().unwrap().len(), 2_000_000 - "first.".len());
}
