//! Answers that come piece by piece: each piece goes out as it comes, however long the next takes.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use super::{
    lab::{A_TEST, Lab, Setup},
    origin::{Origin, echo},
    wire::Client,
};
use crate::proxy::Timeouts;

fn asked(setup: Setup, request: &str) -> (Lab, Client, Client) {
    let lab = Lab::start(setup);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = lab.connect((A_TEST, listener.local_addr().unwrap().port()));
    client.send(request);
    let mut origin = Client::new(listener.accept().unwrap().0);
    origin.until(b"\r\n\r\n");
    (lab, client, origin)
}

const GET: &str = "GET /events HTTP/1.1\r\nHost: a.test\r\nAccept: text/event-stream\r\n\r\n";

#[test]
fn each_event_comes_before_the_next_is_sent() {
    for (framing, chunked) in [("Transfer-Encoding: chunked", true), ("Connection: close", false)] {
        let (_lab, mut client, mut origin) = asked(Setup::default(), GET);
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n\r\n");
        origin.send(head);
        // Before any event.
        client.until(b"\r\n\r\n");
        let mut delays = Vec::new();
        for number in 10..60 {
            let event = format!("data: {number}\n\n");
            let sent = Instant::now();
            match chunked {
                true => origin.send(format!("{:x}\r\n{event}\r\n", event.len())),
                false => origin.send(&event),
            };
            assert!(client.until(b"\n\n").ends_with(&event));
            delays.push(sent.elapsed());
        }
        // Some 0.1 ms; nothing in the proxy waits, while a busy machine may: of so many, some come
        // through as fast as they are.
        delays.sort();
        assert!(delays[delays.len() / 4] < Duration::from_millis(5), "{delays:?}");
        assert!(delays[delays.len() / 2] < Duration::from_millis(50), "{delays:?}");
    }
}

#[test]
fn each_piece_of_a_request_comes_before_the_next_is_sent() {
    let head = "POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (_lab, mut client, mut origin) = asked(Setup::default(), head);
    for number in 10..60 {
        client.send(format!("4\r\n.{number}.\r\n"));
        assert!(origin.until(format!(".{number}.").as_bytes()).contains(&number.to_string()));
    }
}

#[test]
fn no_patience_ends_an_answer_that_is_awaited_or_under_way() {
    let short = Duration::from_millis(20);
    let timeouts = Timeouts { head: short, idle: short, ..Timeouts::default() };
    let (lab, mut client, mut origin) = asked(Setup { timeouts, ..Setup::default() }, GET);
    // As long as two idle connections are kept, one after the other.
    let other = Origin::plain(echo);
    let wait = || {
        for _ in 0..2 {
            let mut idle = lab.connect((A_TEST, other.port()));
            assert_eq!(idle.get("a.test", "/").status, 200);
            assert_eq!(idle.rest().unwrap_or_default(), "");
        }
    };
    wait();
    origin.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.until(b"\r\n\r\n");
    wait();
    origin.send("3\r\nabc\r\n");
    client.until(b"abc");
    wait();
    origin.send("0\r\n\r\n");
    client.until(b"0\r\n\r\n");
}

#[test]
fn a_client_that_leaves_takes_the_origins_connection_with_it() {
    let (_lab, mut client, mut origin) = asked(Setup::default(), GET);
    origin.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.until(b"\r\n\r\n");
    drop(client);
    assert_eq!(origin.rest().unwrap_or_default(), "");
}
