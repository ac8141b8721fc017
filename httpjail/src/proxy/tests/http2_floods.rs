//! Floods of HTTP/2 frames: bounded, recorded, and no harm to others.

use std::io::{Read, Write};

use super::{
    http2_frames::{
        CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM,
        SETTINGS, block, frame, frames, get, request,
    },
    lab::{A_TEST, Lab, Setup, deny},
    origin::{Origin, echo},
    wire::Client,
};

/// Sends until the proxy has had enough, and reads what it says to it.
fn flood(client: &mut Client, bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut writer = client.stream.try_clone().unwrap();
    let whole = [PREFACE, &frame(SETTINGS, 0, 0, b""), bytes].concat();
    let sending = std::thread::spawn(move || {
        // It is cut off when the proxy closes.
        let _ = writer.write_all(&whole);
        let _ = writer.shutdown(std::net::Shutdown::Write);
    });
    let mut answer = Vec::new();
    let _ = client.stream.read_to_end(&mut answer);
    sending.join().unwrap();
    frames(&answer)
}

fn assert_alive(lab: &Lab, origin: &Origin) {
    let mut client = lab.connect((A_TEST, origin.port()));
    assert_eq!(client.get("a.test", "/alive").status, 200);
}

#[test]
fn requests_taken_back_at_once_are_judged_and_bounded() {
    const COUNT: u32 = 5000;
    let rule = |facts: &crate::policy::RequestFacts| match facts.path.as_str() {
        "/alive" => crate::policy::Decision::Allow(crate::policy::Limits::default()),
        _ => deny("no"),
    };
    let (lab, origin) = (Lab::start(Setup { rule, ..Setup::default() }), Origin::plain(echo));
    let mut client = lab.connect((A_TEST, origin.port()));
    let bytes: Vec<_> = (0..COUNT)
        .flat_map(|n| [get(2 * n + 1, "/x"), frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8])])
        .flatten()
        .collect();
    let answer = flood(&mut client, &bytes);
    assert!(answer.iter().any(|f| f.0 == GOAWAY), "it was never too much");
    assert_alive(&lab, &origin);
    let judged = lab.judged().len();
    let records = lab.records();
    assert!(records.len() >= judged && records.len() <= COUNT as usize + 1, "{}", records.len());
    assert!(records.iter().filter(|line| line.starts_with('+')).count() == 1);
}

#[test]
fn heads_without_end_are_cut_off() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    let mut client = lab.connect((A_TEST, origin.port()));
    let piece = block(&[("x", &"a".repeat(8000))]);
    let mut bytes = frame(HEADERS, END_STREAM, 1, &block(&[(":method", "GET")]));
    for _ in 0..1000 {
        bytes.extend_from_slice(&frame(CONTINUATION, 0, 1, &piece));
    }
    let answer = flood(&mut client, &bytes);
    assert!(answer.iter().any(|f| f.0 == GOAWAY), "{answer:?}");
    // The same with empty pieces.
    let mut client = lab.connect((A_TEST, origin.port()));
    let mut bytes = frame(HEADERS, END_STREAM, 1, &block(&[(":method", "GET")]));
    bytes.extend_from_slice(&frame(CONTINUATION, 0, 1, b"").repeat(100_000));
    let answer = flood(&mut client, &bytes);
    assert!(answer.iter().any(|f| f.0 == GOAWAY), "{answer:?}");
    assert_alive(&lab, &origin);
    assert_eq!(lab.records().len(), 3);
}

#[test]
fn broken_requests_are_recorded_one_by_one_and_bounded() {
    const COUNT: u32 = 2000;
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    let mut client = lab.connect((A_TEST, origin.port()));
    let broken = block(&[(":method", "GET")]);
    let bytes: Vec<_> = (0..COUNT)
        .flat_map(|n| frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &broken))
        .collect();
    let answer = flood(&mut client, &bytes);
    assert!(answer.iter().any(|f| f.0 == GOAWAY), "it was never too much");
    assert_alive(&lab, &origin);
    let records = lab.records();
    assert!((200..=COUNT as usize + 1).contains(&records.len()), "{}", records.len());
}

#[test]
fn pings_and_settings_hold_up_nobody() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    for noise in [
        frame(PING, 0, 0, &[0; 8]),
        frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]),
        frame(0x42, 0, 0, b"unknown"),
    ] {
        let mut client = lab.connect((A_TEST, origin.port()));
        flood(&mut client, &noise.repeat(20_000));
        assert_alive(&lab, &origin);
    }
    assert_eq!(lab.records().len(), 3);
}

#[test]
fn a_long_head_passes_and_a_longer_one_is_refused() {
    let (lab, origin) =
        (Lab::start(Setup { rule: |_| deny("no"), ..Setup::default() }), Origin::plain(echo));
    let mut expected = Vec::new();
    for (length, record) in
        [(200, "- GET http://a.test:PORT/x"), (300, "- HTTP http://a.test:PORT")]
    {
        let mut fields = request("/x");
        fields.extend((0..length).map(|_| ("x", "a".repeat(1000))));
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let whole = block(&fields);
        let mut pieces = whole.chunks(16_000);
        let mut bytes = frame(HEADERS, END_STREAM, 1, pieces.next().unwrap());
        for piece in pieces {
            bytes.extend_from_slice(&frame(CONTINUATION, 0, 1, piece));
        }
        bytes.extend_from_slice(&frame(CONTINUATION, END_HEADERS, 1, b""));
        let mut client = lab.connect((A_TEST, origin.port()));
        client.send([PREFACE, &frame(SETTINGS, 0, 0, b""), &bytes].concat());
        while client.next_frame().0 != HEADERS {}
        expected.push(record);
    }
    super::unfinished::assert_records(lab, origin.port(), &expected);
}

#[test]
fn more_requests_than_may_be_under_way_are_refused_and_recorded() {
    let lab = Lab::start(Setup::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = lab.connect((A_TEST, port));
    let bytes: Vec<_> = (0..130).flat_map(|n| get(2 * n + 1, "/x")).collect();
    client.send([PREFACE, &frame(SETTINGS, 0, 0, b""), &bytes].concat());
    lab.await_records(130);
    drop(client);
    let records = lab.records();
    let judged = records.iter().filter(|line| line.starts_with("+ GET")).count();
    assert_eq!((records.len(), judged), (130, 128));
}
