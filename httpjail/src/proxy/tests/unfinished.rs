//! Requests that never get to their end: closed, and recorded once. A connection that asks for
//! nothing has no record.

use std::time::Duration;

use socket2::SockRef;

use super::{
    lab::{A_TEST, Lab, Setup},
    origin::{Origin, echo},
    wire::Hello,
};
use crate::proxy::Timeouts;

const BEGUN: &str = "GET /x HTTP/1.1\r\nHost: a";
const SHORT: Duration = Duration::from_millis(40);
const NEVER: Duration = Duration::from_secs(3600);
/// Longer than a client here takes from one step to the next.
const LONG: Duration = Duration::from_secs(1);

fn impatient() -> Lab {
    let timeouts = Timeouts { first_bytes: LONG, head: SHORT, idle: SHORT, ..Timeouts::default() };
    Lab::start(Setup { timeouts, ..Setup::default() })
}

pub(super) fn assert_records(lab: Lab, port: u16, expected: &[&str]) {
    let records: Vec<_> =
        lab.records().iter().map(|line| line.replace(&port.to_string(), "PORT")).collect();
    assert_eq!(records, expected);
}

#[test]
fn a_head_that_never_ends_is_recorded() {
    let (lab, origin) = (impatient(), Origin::plain(echo));
    let mut client = lab.connect((A_TEST, origin.port()));
    assert_eq!(client.send(BEGUN).rest().unwrap_or_default(), "");
    assert_records(lab, origin.port(), &["- HTTP http://a.test:PORT"]);
}

#[test]
fn a_head_that_never_ends_is_recorded_behind_other_requests() {
    let get = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let expected = ["+ GET http://a.test:PORT/", "- HTTP http://a.test:PORT"];
    // In the same packet, in one of its own, and in both.
    let (one, two) = BEGUN.split_at(7);
    for pieces in [&[&*format!("{get}{BEGUN}")][..], &[get, BEGUN], &[&format!("{get}{one}"), two]]
    {
        // Without an idle limit: it isn't what ends the wait.
        let timeouts = Timeouts { head: SHORT, idle: NEVER, ..Timeouts::default() };
        let lab = Lab::start(Setup { timeouts, ..Setup::default() });
        let origin = Origin::plain(echo);
        let mut client = lab.connect((A_TEST, origin.port()));
        assert_eq!(client.ask(pieces[0]).status, 200);
        for piece in &pieces[1..] {
            client.send(piece);
        }
        assert_eq!(client.rest().unwrap_or_default(), "");
        assert_records(lab, origin.port(), &expected);
    }
}

#[test]
fn a_head_that_never_ends_is_recorded_inside_tls() {
    let timeouts = Timeouts { head: LONG, ..Timeouts::default() };
    let lab = Lab::start(Setup { timeouts, ..Setup::default() });
    let origin = Origin::plain(echo);
    let mut client = lab.connect((A_TEST, origin.port())).tls(&lab.authority, Hello::to("b.test"));
    assert_eq!(client.send(BEGUN).rest().unwrap_or_default(), "");
    assert_records(lab, origin.port(), &["- HTTP http://b.test:PORT"]);
}

#[test]
fn a_request_line_or_a_hello_that_never_ends_is_recorded() {
    for (bytes, record) in [
        ("GET /x HTT", "- TCP tcp://a.test:PORT"),
        ("\r\n", "- TCP tcp://a.test:PORT"),
        ("\x16", "- TCP tcp://a.test:PORT"),
    ] {
        let (lab, origin) = (impatient(), Origin::plain(echo));
        let mut client = lab.connect((A_TEST, origin.port()));
        assert_eq!(client.send(bytes).rest().unwrap_or_default(), "");
        assert_records(lab, origin.port(), &[record]);
    }
    let timeouts = Timeouts { handshake: SHORT, ..Timeouts::default() };
    let lab = Lab::start(Setup { timeouts, ..Setup::default() });
    let mut client = lab.connect((A_TEST, 443));
    assert_eq!(client.send("\x16\x03\x01\x02\0\x01").rest().unwrap_or_default(), "");
    assert_records(lab, 443, &["- TLS tls://a.test:PORT"]);
}

#[test]
fn who_waits_for_the_server_to_speak_is_recorded() {
    let timeouts = Timeouts { first_bytes: SHORT, ..Timeouts::default() };
    let lab = Lab::start(Setup { timeouts, ..Setup::default() });
    assert_eq!(lab.connect((A_TEST, 25)).rest().unwrap_or_default(), "");
    assert_records(lab, 25, &["- TCP tcp://a.test:PORT"]);
}

#[test]
fn a_request_that_its_client_breaks_off_is_recorded() {
    for (bytes, record) in
        [(BEGUN, "- HTTP http://a.test:PORT"), ("GET /x", "- TCP tcp://a.test:PORT")]
    {
        let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
        let mut client = lab.connect((A_TEST, origin.port()));
        client.send(bytes).half_close();
        assert_eq!(client.rest().unwrap_or_default(), "");
        assert_records(lab, origin.port(), &[record]);
    }
}

#[test]
fn a_head_that_a_reset_breaks_off_is_recorded() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    let mut client = lab.connect((A_TEST, origin.port()));
    // With the answer to the first request, what follows it was read, too.
    let reply = client.ask(&format!("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n{BEGUN}"));
    assert_eq!(reply.status, 200);
    SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    lab.await_records(2);
    assert_records(lab, origin.port(), &["+ GET http://a.test:PORT/", "- HTTP http://a.test:PORT"]);
}

#[test]
fn a_head_that_a_reset_breaks_off_is_recorded_behind_a_body() {
    for body in
        ["Content-Length: 2\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"]
    {
        let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
        let mut client = lab.connect((A_TEST, origin.port()));
        let post = format!("POST / HTTP/1.1\r\nHost: a.test\r\n{body}");
        assert_eq!(client.ask(&format!("{post}{BEGUN}")).status, 200);
        SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        lab.await_records(2);
        let expected = ["+ POST http://a.test:PORT/", "- HTTP http://a.test:PORT"];
        assert_records(lab, origin.port(), &expected);
    }
}

#[test]
fn a_reset_amid_a_body_is_no_second_request() {
    let rule = |_: &crate::policy::RequestFacts| super::lab::deny("no");
    let (lab, origin) = (Lab::start(Setup { rule, ..Setup::default() }), Origin::plain(echo));
    let head = "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99\r\n\r\n";
    let mut client = lab.connect((A_TEST, origin.port()));
    assert_eq!(client.ask(&format!("{head}GET / HTTP/1.1\r\n")).status, 403);
    SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_records(lab, origin.port(), &["- POST http://a.test:PORT/x"]);
}

#[test]
fn a_body_that_never_ends_is_recorded_once() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    let mut client = lab.connect((A_TEST, origin.port()));
    client.send("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nhello").half_close();
    let answer = client.rest().unwrap_or_default();
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(origin.requests(), [""; 0]);
    assert_records(lab, origin.port(), &["+ POST http://a.test:PORT/x"]);
}

#[test]
fn who_asks_for_nothing_has_no_record() {
    let (lab, origin) = (impatient(), Origin::plain(echo));
    // Closed at once, reset at once, idle after a request, idle after the empty line that some
    // clients send behind a body, and idle inside TLS.
    drop(lab.connect((A_TEST, origin.port())));
    let reset = lab.connect((A_TEST, origin.port()));
    SockRef::from(&reset.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);
    let mut idle = lab.connect((A_TEST, origin.port()));
    assert_eq!(idle.get("a.test", "/1").status, 200);
    assert_eq!(idle.rest().unwrap_or_default(), "");
    let mut blank = lab.connect((A_TEST, origin.port()));
    assert_eq!(blank.get("a.test", "/2").status, 200);
    assert_eq!(blank.send("\r\n").rest().unwrap_or_default(), "");
    let mut tls = lab.connect((A_TEST, origin.port())).tls(&lab.authority, Hello::to("a.test"));
    tls.stream.conn.complete_io(&mut tls.stream.sock).unwrap();
    assert_eq!(tls.rest().unwrap_or_default(), "");
    let expected = ["+ GET http://a.test:PORT/1", "+ GET http://a.test:PORT/2"];
    assert_records(lab, origin.port(), &expected);
}
