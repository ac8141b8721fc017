//! TLS that goes through unread.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use rustls::Connection;
use rustls_pki_types::CertificateDer;

use super::{
    lab::{A_TEST, Lab, Setup, deny},
    origin::{Origin, echo},
    wire::Hello,
};
use crate::policy::{Decision, Limits, Openings, RequestFacts, Scheme};

fn through(patterns: &[&str]) -> Openings {
    let passthrough = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
    Openings { passthrough, ..Openings::default() }
}

fn tls_alone(facts: &RequestFacts) -> Decision {
    match facts.scheme {
        Scheme::Tls => Decision::Allow(Limits::default()),
        Scheme::Http | Scheme::Https | Scheme::Tcp => deny("no"),
    }
}

/// A proxy under the rule [`tls_alone`], an origin of `name`, and the origin's own root.
fn lab(patterns: &[&str], name: &str) -> (Lab, Origin, CertificateDer<'static>) {
    let (origin, root) = Origin::tls(echo, name);
    let extra_ca = vec![root.clone()];
    let openings = through(patterns);
    (Lab::start(Setup { openings, rule: tls_alone, extra_ca, ..Setup::default() }), origin, root)
}

#[test]
fn a_program_that_pins_its_server_is_let_through_by_the_name() {
    for patterns in [["a.test"], ["*.test"], ["*"]] {
        let (lab, origin, root) = lab(&patterns, "a.test");
        let mut client = lab.connect((A_TEST, origin.port())).tls(&root, Hello::to("a.test"));
        // What is inside is the client's and the server's.
        assert_eq!(client.get("other.test", "/x").status, 200);
        assert_eq!(lab.judged_urls(), [format!("tls://a.test:{}", origin.port())]);
        let [facts] = &lab.judged()[..] else { panic!("judged once") };
        assert_eq!((facts.method.as_str(), facts.path.as_str()), ("TLS", ""));
        drop(client);
        assert_eq!(lab.records(), [format!("+ TLS tls://a.test:{}", origin.port())]);
    }
}

#[test]
fn an_address_is_dialled_by_the_server_name() {
    let (lab, origin, root) = lab(&["b.test"], "b.test");
    // Nobody listens there.
    let target = ([192, 0, 2, 1], origin.port());
    let mut client = lab.connect(target).tls(&root, Hello::to("b.test"));
    assert_eq!(client.get("b.test", "/").status, 200);
    drop(client);
    assert_eq!(lab.records(), [format!("+ TLS tls://b.test:{}", origin.port())]);
}

#[test]
fn a_name_that_the_rule_denies_is_told_so_by_an_alert() {
    let (origin, root) = Origin::tls(echo, "a.test");
    let openings = through(&["a.test"]);
    let lab = Lab::start(Setup { openings, rule: |_| deny("no"), ..Setup::default() });
    let mut client = lab.connect((A_TEST, origin.port())).tls(&root, Hello::to("a.test"));
    let error = client.stream.write_all(b"x").unwrap_err().to_string();
    assert!(error.contains("AccessDenied"), "{error}");
    assert_eq!(origin.connections(), 0);
    assert_eq!(lab.records(), [format!("- TLS tls://a.test:{}", origin.port())]);
}

#[test]
fn what_matches_no_pattern_is_intercepted() {
    for (patterns, to, sni) in [
        (["b.test"], "a.test", true),
        (["*.a.test"], "a.test", true),
        // No name, none to judge by.
        (["*"], "a.test", false),
        // The connection went to another name.
        (["b.test"], "b.test", true),
    ] {
        let (lab, origin, _) = lab(&patterns, "a.test");
        let hello = Hello { send_sni: sni, ..Hello::to(to) };
        let mut client = lab.connect((A_TEST, origin.port())).tls(&lab.authority, hello);
        assert_eq!(client.get(to, "/").status, 403, "{patterns:?} {to}");
        assert_eq!(origin.connections(), 0);
        drop(client);
        assert_eq!(lab.records(), [format!("- GET https://{to}:{}/", origin.port())]);
    }
}

/// A hello to a.test with an extension more: Encrypted Client Hello, or something like it.
fn encrypted(root: &CertificateDer<'static>, kind: u16) -> Vec<u8> {
    let connection = Hello::to("a.test").connection(root);
    let mut hello = Vec::new();
    Connection::from(connection).write_tls(&mut hello).unwrap();
    let (suite, key, payload) = ([0, 0, 1, 0, 1], [&[7, 0, 32][..], &[5; 32]].concat(), [0, 8]);
    let content = [&suite[..], &key, &payload, &[6; 8]].concat();
    let length = (content.len() as u16).to_be_bytes();
    hello.extend([&kind.to_be_bytes()[..], &length, &content].concat());
    let more = content.len() + 4;
    // The lengths of the record, the message and the extensions.
    let session = usize::from(hello[43]);
    let suites = 44 + session;
    let methods = suites + 2 + usize::from(u16::from_be_bytes([hello[suites], hello[suites + 1]]));
    let extensions = methods + 1 + usize::from(hello[methods]);
    for at in [3, 7, extensions] {
        let length = u16::from_be_bytes([hello[at], hello[at + 1]]) + more as u16;
        hello[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
    hello
}

/// The certificate that is shown could only be told inside the handshake; what tells is whether the
/// origin was asked.
#[test]
fn a_hello_that_may_hide_another_name_is_intercepted() {
    for (kind, is_intercepted) in [(0xfe0d, true), (0xfa0d, false)] {
        let (lab, origin, root) = lab(&["a.test"], "a.test");
        let mut client: TcpStream = lab.connect((A_TEST, origin.port())).stream;
        client.write_all(&encrypted(&root, kind)).unwrap();
        let mut first = [0];
        client.read_exact(&mut first).unwrap();
        assert_eq!(first, [0x16], "a server hello");
        assert_eq!(origin.connections() == 0, is_intercepted, "{kind:x}");
        drop(client);
        lab.await_records(1);
        let sign = if is_intercepted { '-' } else { '+' };
        assert_eq!(lab.records(), [format!("{sign} TLS tls://a.test:{}", origin.port())]);
    }
}

#[test]
fn a_hello_in_pieces_passes_as_it_was() {
    let (lab, origin, root) = lab(&["a.test"], "a.test");
    let connection = Hello::to("a.test").connection(&root);
    let mut hello = Vec::new();
    let mut connection = Connection::from(connection);
    connection.write_tls(&mut hello).unwrap();
    let mut client = lab.connect((A_TEST, origin.port())).stream;
    for byte in hello {
        client.write_all(&[byte]).unwrap();
    }
    while connection.is_handshaking() {
        connection.read_tls(&mut client).unwrap();
        connection.process_new_packets().unwrap();
        connection.write_tls(&mut client).unwrap();
    }
    assert_eq!(origin.connections(), 1);
}
