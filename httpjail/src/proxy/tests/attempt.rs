//! One attempt on one connection, and all that came of it: what the client was answered, what the
//! records say, what the origin saw.

use super::{
    lab::{A_TEST, Lab, Setup, deny},
    origin::{Origin, echo},
};
use crate::policy::{Decision, Host, Limits, RequestFacts};

/// A request that no rule here lets out.
pub(super) const EVIL: &str = "GET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// All that came of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The status of each answer.
    pub(super) answers: Vec<u16>,
    /// Each record without its time, and with `PORT` for the origin's.
    pub(super) records: Vec<String>,
    /// The URL of each request as the origin sees it, with `PORT` for its own.
    pub(super) seen: Vec<String>,
}

impl Outcome {
    pub(super) fn new(answers: &[u16], records: &[&str], seen: &[&str]) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self { answers: answers.to_vec(), records: owned(records), seen: owned(seen) }
    }
}

/// Sends `bytes`, with the origin's port for `PORT`, to where `a.test` is, and awaits `answers`
/// answers; after these nothing more may come.
///
/// The rule lets out requests to the two names of the lab and to 127.0.0.1, except for `/EVIL`.
pub(super) fn attempt(bytes: &[u8], answers: usize) -> Outcome {
    attempt_with(Setup { rule, ..Setup::default() }, bytes, answers)
}

/// The same with another setup.
pub(super) fn attempt_with(setup: Setup, bytes: &[u8], answers: usize) -> Outcome {
    let lab = Lab::start(setup);
    let origin = Origin::plain(echo);
    let port = origin.port().to_string();
    let mut client = lab.connect((A_TEST, origin.port()));
    client.send(replace(bytes, b"PORT", port.as_bytes()));
    let answers = (0..answers).map(|_| client.reply(false).status).collect();
    client.half_close();
    assert_eq!(client.rest().unwrap_or_default(), "", "no further answer");
    drop(client);
    let records = lab.records().iter().map(|record| record.replace(&port, "PORT")).collect();
    let seen = origin.requests().iter().map(|request| seen(request, &port)).collect();
    Outcome { answers, records, seen }
}

/// Holds if the proxy refused `bytes` in an answer of its own, ended the connection by itself, and
/// recorded one request for `/first`, of which nothing whole has reached the origin.
pub(super) fn breaks_off(bytes: &[u8]) {
    let lab = Lab::start(Setup { rule, ..Setup::default() });
    let origin = Origin::plain(echo);
    let mut client = lab.connect((A_TEST, origin.port()));
    let answers = client.send(bytes).rest().unwrap_or_default();
    assert!(answers.starts_with("HTTP/1.1 400 "), "{answers}");
    assert!(answers.contains("\r\nconnection: close\r\n"), "{answers}");
    assert_eq!(answers.matches("\r\n\r\n").count(), 1, "{answers}");
    drop(client);
    let url = format!("http://a.test:{}/first", origin.port());
    assert_eq!(lab.records(), [format!("+ POST {url}")]);
    assert_eq!(origin.requests(), [""; 0]);
}

fn rule(facts: &RequestFacts) -> Decision {
    let hosts = ["a.test", "b.test", "127.0.0.1"].map(|host| Host::parse(host).unwrap());
    if facts.path == "/EVIL" || !hosts.contains(facts.authority.host()) {
        return deny("no");
    }
    Decision::Allow(Limits::default())
}

/// The URL that a request asks for, which must be one that no two programs read differently.
fn seen(request: &str, port: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let stray = |byte: u8| byte.is_ascii_control() && byte != b'\t';
    assert!(!head.split("\r\n").any(|line| line.bytes().any(stray)), "{head:?}");
    let mut lines = head.split("\r\n");
    let [method, target, "HTTP/1.1"] = lines.next().unwrap().split(' ').collect::<Vec<_>>()[..]
    else {
        panic!("an odd request line: {head:?}");
    };
    assert!(target.starts_with('/'), "{head:?}");
    let fields: Vec<_> = lines.map(|line| line.split_once(": ").unwrap()).collect();
    let values = |name: &str| -> Vec<&str> {
        let fields = fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| *value).collect()
    };
    let framing = values("content-length").len() + values("transfer-encoding").len();
    assert!(framing <= 1, "{head:?}");
    assert!(values("transfer-encoding").iter().all(|value| *value == "chunked"), "{head:?}");
    assert!(values("upgrade").is_empty() && values("http2-settings").is_empty(), "{head:?}");
    for trailer in ["host:", "content-length:", "transfer-encoding:"] {
        assert!(!body.to_lowercase().contains(trailer), "{request:?}");
    }
    let [host] = values("host")[..] else { panic!("not one host: {head:?}") };
    format!("{method} http://{}{target}", host.replace(port, "PORT"))
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let Some(at) = bytes.windows(from.len()).position(|window| window == from) else {
        return bytes.to_vec();
    };
    let (before, rest) = bytes.split_at(at);
    [before, to, &replace(&rest[from.len()..], from, to)].concat()
}
