//! WebSockets: judged as the GET that opens them, opaque behind it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use super::{
    lab::{A_TEST, Lab, Setup, allow_bytes, deny},
    origin::{Origin, echo},
    wire::{Client, Hello},
};
use crate::proxy::Timeouts;

const ASK: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Protocol: chat\r\n\r\n";

/// Agrees, and then answers whatever ends in an empty line.
pub(super) fn chat(request: &str) -> Option<Vec<u8>> {
    Some(match request.starts_with("GET ") {
        true => AGREE.into(),
        false => format!("heard {request}").into_bytes(),
    })
}

pub(super) fn assert_chats<S: Read + Write>(client: &mut Client<S>) {
    let head = client.send(ASK).until(b"\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let head = head.to_lowercase();
    for field in [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "sec-websocket-protocol: chat",
    ] {
        assert!(head.contains(&format!("\r\n{field}\r\n")), "{head}");
    }
    for words in ["one\r\n\r\n", "two\r\n\r\n"] {
        assert_eq!(client.send(words).until(b"\r\n\r\n"), format!("heard {words}"));
    }
}

fn url(scheme: &str, origin: &Origin) -> String {
    format!("{scheme}://a.test:{}/chat?room=1", origin.port())
}

#[test]
fn a_websocket_is_judged_once_and_passes_both_ways() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(chat));
    let mut client = lab.connect((A_TEST, origin.port()));
    assert_chats(&mut client);
    let asked = origin.requests().remove(0);
    for field in ["upgrade: websocket", "connection: Upgrade", "sec-websocket-protocol: chat"] {
        assert!(asked.contains(&format!("\r\n{field}\r\n")), "{asked}");
    }
    drop(client);
    let url = url("http", &origin);
    assert_eq!(lab.records(), [format!("+ GET {url}")]);
}

#[test]
fn a_websocket_passes_inside_tls_and_inside_a_tunnel() {
    let (origin, root) = Origin::tls(chat, "a.test");
    let lab = Lab::start(Setup { extra_ca: vec![root], ..Setup::default() });
    assert_chats(
        &mut lab.connect((A_TEST, origin.port())).tls(&lab.authority, Hello::to("a.test")),
    );
    let mut client = lab.connect(([45, 67, 89, 1], 3128));
    client.open_tunnel(&format!("a.test:{}", origin.port()));
    assert_chats(&mut client.tls(&lab.authority, Hello::to("a.test")));
    let record = format!("+ GET {}", url("https", &origin));
    assert_eq!(lab.records(), [record.clone(), record]);
}

#[test]
fn a_websocket_that_is_denied_is_never_asked_for() {
    let lab = Lab::start(Setup { rule: |_| deny("no"), ..Setup::default() });
    let origin = Origin::plain(chat);
    let mut client = lab.connect((A_TEST, origin.port()));
    assert_eq!(client.ask(ASK).status, 403);
    // The connection is still one of HTTP.
    assert_eq!(client.get("a.test", "/").status, 403);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn an_origin_that_declines_is_heard() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    let mut client = lab.connect((A_TEST, origin.port()));
    for _ in 0..2 {
        assert_eq!(client.ask(ASK).body, "GET /chat?room=1 HTTP/1.1");
        assert_eq!(client.get("a.test", "/").status, 200);
    }
    // The ordinary requests have used what the others left.
    assert_eq!(origin.connections(), 2);
}

#[test]
fn an_answer_that_agrees_to_something_else_opens_nothing() {
    for script in [
        |_: &str| Some(AGREE.replace("s3pP", "AAAA").into_bytes()),
        |_: &str| Some(AGREE.replace("Upgrade: websocket", "Upgrade: h2c").into_bytes()),
        |_: &str| Some(AGREE.replace("Connection: Upgrade\r\n", "").into_bytes()),
        |_: &str| Some(AGREE.replace("Sec-WebSocket-Accept", "X-Accept").into_bytes()),
    ] {
        let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(script));
        let mut client = lab.connect((A_TEST, origin.port()));
        assert_eq!(client.ask(ASK).status, 502);
        assert_eq!(lab.records(), [format!("+ GET {}", url("http", &origin))]);
    }
}

#[test]
fn what_is_no_proper_handshake_is_an_ordinary_request() {
    for (part, instead) in [
        ("GET", "POST"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("Connection: keep-alive, Upgrade", "Connection: keep-alive"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "x"),
        ("Version: 13", "Version: 12"),
        ("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx"),
    ] {
        let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
        let ask = ASK.replace(part, instead);
        assert_eq!(lab.connect((A_TEST, origin.port())).ask(&ask).status, 200, "{ask}");
        assert!(!origin.request().contains("upgrade"), "{}", origin.request());
    }
}

/// A proxy, the client's end and the origin's end of a WebSocket through it.
fn open(setup: Setup) -> (Lab, Client, Client) {
    let lab = Lab::start(setup);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = lab.connect((A_TEST, listener.local_addr().unwrap().port()));
    client.send(ASK);
    let mut origin = Client::new(listener.accept().unwrap().0);
    origin.until(b"\r\n\r\n");
    origin.send(AGREE);
    client.until(b"\r\n\r\n");
    (lab, client, origin)
}

fn assert_pings(client: &mut Client, origin: &mut Client) {
    client.send("ping.");
    assert_eq!(origin.until(b"."), "ping.");
    origin.send("pong.");
    assert_eq!(client.until(b"."), "pong.");
}

#[test]
fn bytes_that_come_early_are_passed_on() {
    let lab = Lab::start(Setup::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = lab.connect((A_TEST, listener.local_addr().unwrap().port()));
    client.send(format!("{ASK}early."));
    let mut origin = Client::new(listener.accept().unwrap().0);
    origin.until(b"\r\n\r\n");
    origin.send(format!("{AGREE}first."));
    client.until(b"\r\n\r\n");
    assert_eq!((client.until(b".").as_str(), origin.until(b".").as_str()), ("first.", "early."));
}

#[test]
fn an_end_is_passed_on_and_the_other_direction_stays() {
    let (_lab, mut client, mut origin) = open(Setup::default());
    client.half_close();
    assert_eq!(origin.rest().unwrap(), "");
    origin.send("last.").half_close();
    assert_eq!(client.rest().unwrap(), "last.");
    let (_lab, mut client, mut origin) = open(Setup::default());
    origin.half_close();
    assert_eq!(client.rest().unwrap(), "");
    client.send("last.");
    drop(client);
    assert_eq!(origin.rest().unwrap(), "last.");
}

#[test]
fn a_reset_ends_both_sides() {
    let (_lab, client, mut origin) = open(Setup::default());
    socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    let end = origin.rest();
    let gone = |error: std::io::Error| error.kind() == ErrorKind::ConnectionReset;
    assert!(end.map_or_else(gone, |rest| rest.is_empty()));
}

#[test]
fn no_patience_ends_a_silent_websocket() {
    let short = Duration::from_millis(20);
    let timeouts = Timeouts { head: short, idle: short, ..Timeouts::default() };
    let (lab, mut client, mut origin) = open(Setup { timeouts, ..Setup::default() });
    assert_pings(&mut client, &mut origin);
    // As long as two idle connections are kept, one after the other.
    let other = Origin::plain(echo);
    for _ in 0..2 {
        let mut idle = lab.connect((A_TEST, other.port()));
        assert_eq!(idle.get("a.test", "/").status, 200);
        assert_eq!(idle.rest().unwrap_or_default(), "");
    }
    assert_pings(&mut client, &mut origin);
}

#[test]
fn the_limit_of_the_rule_holds_for_all_that_goes_to_the_origin() {
    let lab = Lab::start(Setup { rule: |_| allow_bytes(400), ..Setup::default() });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = lab.connect((A_TEST, listener.local_addr().unwrap().port()));
    client.send(ASK);
    let mut origin = Client::new(listener.accept().unwrap().0);
    let head = origin.until(b"\r\n\r\n");
    // What comes back has no limit.
    origin.send(format!("{AGREE}{}.", "x".repeat(1000)));
    client.until(b"x.");
    client.send("y".repeat(400));
    assert_eq!(head.len() + origin.rest().unwrap().len(), 400);
    assert_eq!(client.rest().unwrap_or_default(), "");
}

#[test]
fn a_side_that_does_not_read_holds_the_other_up() {
    let (_lab, client, origin) = open(Setup::default());
    let mut writer: TcpStream = client.stream;
    writer.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut written = 0;
    while writer.write_all(&[0; 65536]).is_ok() {
        written += 65536;
        assert!(written < 64 << 20, "the proxy swallows everything");
    }
    drop(origin);
}

#[test]
fn a_head_that_is_cut_behind_a_declined_websocket_is_a_refusal() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    let mut client = lab.connect((A_TEST, origin.port()));
    assert_eq!(client.ask(ASK).status, 200);
    client.send("GET /secret HT").half_close();
    client.rest().unwrap_or_default();
    let records = lab.records();
    assert_eq!(records.len(), 2, "{records:?}");
}
