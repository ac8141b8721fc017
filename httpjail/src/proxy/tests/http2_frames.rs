//! Frames that break the rules (RFC 9113), one by one: none gets out, and each has its record.

use std::io::Read;

use super::{
    lab::{A_TEST, Lab, Setup, deny},
    origin::{Origin, echo},
    unfinished::assert_records,
    wire::Client,
};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const WHOLE: u8 = END_STREAM | END_HEADERS;

type Fields<'a> = &'a [(&'a str, &'a str)];

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A block of fields, each as a literal that isn't indexed (RFC 7541, 6.2.2).
pub(super) fn block(fields: Fields<'_>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541, 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        return block.push(length as u8);
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// What every request needs.
pub(super) fn request(path: &str) -> Vec<(&'static str, String)> {
    [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", path)]
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec()
}

/// A request without a body.
pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    let fields = request(path);
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    frame(HEADERS, WHOLE, stream, &block(&fields))
}

/// What the proxy sends: the type, the stream and the payload of each frame.
pub(super) fn frames(bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while rest.len() >= 9 {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        let stream = u32::from_be_bytes([rest[5], rest[6], rest[7], rest[8]]);
        let Some(payload) = rest.get(9..9 + length) else { break };
        frames.push((rest[3], stream, payload.to_vec()));
        rest = &rest[9 + length..];
    }
    frames
}

/// Sends `bytes` behind a preface, ends the client's side, and reads all that comes back.
pub(super) fn exchange(client: &mut Client, bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    client.send([PREFACE, &frame(SETTINGS, 0, 0, b""), bytes].concat()).half_close();
    let mut answer = client.take_unread();
    // It may end in a reset; what came before counts.
    let _ = client.stream.read_to_end(&mut answer);
    frames(&answer)
}

impl Client {
    /// The next frame that comes.
    pub(super) fn next_frame(&mut self) -> (u8, u32, Vec<u8>) {
        let mut bytes = vec![0; 9];
        self.stream.read_exact(&mut bytes).unwrap();
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        bytes.resize(9 + length, 0);
        self.stream.read_exact(&mut bytes[9..]).unwrap();
        frames(&bytes).remove(0)
    }
}

fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[payload.len().min(8) - 4..payload.len().min(8)].try_into().unwrap())
}

/// Neither sent on nor judged, but answered by a reset or the end of the connection, and recorded.
fn assert_refused(name: &str, bytes: &[u8], kinds: &[u8]) {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    let mut client = lab.connect((A_TEST, origin.port()));
    let answer = exchange(&mut client, bytes);
    let is_refusal = |f: &(u8, u32, Vec<u8>)| kinds.contains(&f.0) && code(&f.2) != 0;
    assert!(answer.iter().any(is_refusal), "{name}: {answer:?}");
    assert!(!answer.iter().any(|f| f.0 == HEADERS), "{name}: {answer:?}");
    assert_eq!(origin.connections(), 0, "{name}");
    assert!(lab.judged().is_empty(), "{name}");
    assert_records(lab, origin.port(), &["- HTTP http://a.test:PORT"]);
}

#[test]
fn heads_that_break_the_rules_are_refused() {
    let method = (":method", "GET");
    let scheme = (":scheme", "http");
    let authority = (":authority", "a.test");
    let path = (":path", "/");
    let all = [method, scheme, authority, path];
    let with = |more: &[(&'static str, &'static str)]| [&all[..], more].concat();
    for fields in [
        vec![scheme, authority, path],
        vec![method, authority, path],
        vec![method, scheme, authority],
        vec![method, scheme, authority, (":path", "")],
        with(&[method]),
        with(&[path]),
        with(&[authority]),
        with(&[scheme]),
        with(&[(":status", "200")]),
        with(&[(":unknown", "1")]),
        with(&[("x", "1"), (":path", "/other")]),
        vec![method, scheme, ("x", "1"), authority, path],
        with(&[("Upper", "1")]),
        with(&[("", "1")]),
        with(&[("two words", "1")]),
        with(&[("colon:", "1")]),
        with(&[("x", "a\r\nevil: 1")]),
        with(&[("x", "a\nb")]),
        with(&[("x", "a\0b")]),
        with(&[("connection", "close")]),
        with(&[("keep-alive", "1")]),
        with(&[("proxy-connection", "keep-alive")]),
        with(&[("transfer-encoding", "chunked")]),
        with(&[("upgrade", "h2c")]),
        with(&[("te", "gzip")]),
        with(&[("content-length", "5")]),
        with(&[("content-length", "x")]),
        with(&[("content-length", "+0")]),
        with(&[("content-length", "0"), ("content-length", "1")]),
        vec![method, scheme, (":authority", "a test"), path],
        vec![method, scheme, (":authority", "a.test\r\nx: y"), path],
        vec![method, (":scheme", "ht tp"), authority, path],
        vec![(":method", "GE T"), scheme, authority, path],
        vec![(":method", ""), scheme, authority, path],
        vec![method, scheme, authority, (":path", "/a b")],
        vec![method, scheme, authority, (":path", "/a\r\nb")],
        with(&[(":protocol", "websocket")]),
    ] {
        let bytes = frame(HEADERS, WHOLE, 1, &block(&fields));
        assert_refused(&format!("{fields:?}"), &bytes, &[RST_STREAM, GOAWAY]);
    }
}

#[test]
fn frames_that_break_the_rules_end_the_connection() {
    let get = get(1, "/");
    for (name, bytes) in [
        ("a request on stream 0", frame(HEADERS, WHOLE, 0, &block(&[]))),
        ("a request on an even stream", frame(HEADERS, WHOLE, 2, &get[9..])),
        ("data on an idle stream", frame(DATA, 0, 5, b"x")),
        ("data on stream 0", frame(DATA, 0, 0, b"x")),
        ("a reset of an idle stream", frame(RST_STREAM, 0, 5, &[0; 4])),
        ("a reset of the wrong size", frame(RST_STREAM, 0, 5, &[0; 3])),
        ("a continuation of nothing", frame(CONTINUATION, 4, 1, &get[9..])),
        (
            "a frame inside a head",
            [frame(HEADERS, END_STREAM, 1, &get[9..]), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        (
            "a continuation of another stream",
            [frame(HEADERS, 1, 1, &get[9..]), frame(CONTINUATION, 4, 3, b"")].concat(),
        ),
        ("no field block", frame(HEADERS, WHOLE, 1, b"\xff\xff\xff\xff\xff")),
        ("an index that is not there", frame(HEADERS, WHOLE, 1, b"\xfe")),
        ("padding beyond the frame", frame(HEADERS, WHOLE | 8, 1, &[200, 0x82])),
        ("an update by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("an update of the wrong size", frame(WINDOW_UPDATE, 0, 0, &[1; 3])),
        (
            "updates beyond the largest window",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        ),
        ("settings of the wrong size", frame(SETTINGS, 0, 0, &[0; 5])),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[])),
        ("an acknowledgement with content", frame(SETTINGS, 1, 0, &[0; 6])),
        ("a ping of the wrong size", frame(PING, 0, 0, &[0; 7])),
        ("a ping of a stream", frame(PING, 0, 1, &[0; 8])),
        ("a promise of a client", frame(5, 4, 1, &[0; 8])),
        ("a frame that is too large", frame(0x20, 0, 0, &vec![0; 20_000])),
        ("a frame too large to come", [&[0xff; 3], &[0; 6][..]].concat()),
    ] {
        assert_refused(name, &bytes, &[GOAWAY]);
    }
}

#[test]
fn a_body_of_another_length_than_announced_is_never_whole() {
    let head = |stream| {
        let mut fields = request("/x");
        fields[0].1 = "POST".to_owned();
        fields.push(("content-length", "5".to_owned()));
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        frame(HEADERS, END_HEADERS, stream, &block(&fields))
    };
    for data in [
        frame(DATA, END_STREAM, 1, b"hell"),
        frame(DATA, END_STREAM, 1, b"hello!"),
        frame(DATA, END_STREAM, 1, b""),
        [frame(DATA, 0, 1, b"hello"), frame(DATA, 0, 1, b"GET /evil HTTP/1.1\r\n\r\n")].concat(),
    ] {
        let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
        let mut client = lab.connect((A_TEST, origin.port()));
        let answer = exchange(&mut client, &[head(1), data].concat());
        let is_reset = |f: &(u8, u32, Vec<u8>)| f.0 == RST_STREAM && f.1 == 1;
        assert!(answer.iter().any(is_reset), "{answer:?}");
        assert!(!origin.requests().iter().any(|request| request.contains("evil")));
        assert_records(lab, origin.port(), &["+ POST http://a.test:PORT/x"]);
    }
}

#[test]
fn a_preface_that_only_begins_like_one_is_refused() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    for bytes in
        [&b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..], b"PRI * HTTP/2.0\r\nHost: a.test\r\n\r\n"]
    {
        let mut client = lab.connect((A_TEST, origin.port()));
        client.send(bytes).half_close();
        let _ = client.stream.read_to_end(&mut Vec::new());
    }
    assert_records(lab, origin.port(), &["- HTTP http://a.test:PORT"; 2]);
}

#[test]
fn who_asks_for_nothing_has_no_record() {
    let lab = Lab::start(Setup::default());
    let mut client = lab.connect((A_TEST, 80));
    let answer = exchange(&mut client, &frame(PING, 0, 0, b"pingpong"));
    assert!(answer.iter().any(|f| f.0 == PING && f.2 == b"pingpong"), "{answer:?}");
    assert_eq!(lab.records(), [""; 0]);
}

#[test]
fn who_asks_and_goes_has_a_record_for_each_request() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    let asked: Vec<_> = (0..10).flat_map(|n| get(2 * n + 1, &format!("/{n}"))).collect();
    let begun = frame(HEADERS, END_STREAM, 21, &get(21, "/begun")[9..]);
    let mut client = lab.connect((A_TEST, origin.port()));
    client.send([PREFACE, &frame(SETTINGS, 0, 0, b""), &asked, &begun].concat());
    drop(client);
    lab.await_records(11);
    let mut expected: Vec<_> = (0..10).map(|n| format!("+ GET http://a.test:PORT/{n}")).collect();
    expected.push("- HTTP http://a.test:PORT".to_owned());
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    assert_records(lab, origin.port(), &expected);
}

#[test]
fn an_answer_is_not_followed_by_a_reset_while_the_body_comes() {
    let lab = Lab::start(Setup { rule: |_| deny("no"), ..Setup::default() });
    let mut client = lab.connect((A_TEST, 80));
    let mut fields = request("/x");
    fields[0].1 = "POST".to_owned();
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let head = frame(HEADERS, END_HEADERS, 1, &block(&fields));
    client.send([PREFACE, &frame(SETTINGS, 0, 0, b""), &head].concat());
    // The whole answer, then all of the body, which fills a window.
    while client.next_frame().0 != DATA {}
    // From here on the window is as large as the proxy's settings say.
    client.send(frame(SETTINGS, 1, 0, b""));
    for _ in 0..16 {
        client.send(frame(DATA, 0, 1, &[0; 16_000]));
    }
    client.send([frame(DATA, END_STREAM, 1, b"end"), frame(PING, 0, 0, &[0; 8])].concat());
    loop {
        let (kind, stream, payload) = client.next_frame();
        assert_ne!(kind, RST_STREAM, "{stream} {payload:?}");
        if kind == PING {
            break;
        }
    }
    assert_records(lab, 80, &["- POST http://a.test/x"]);
}
