//! HTTPS: intercepted on the jail's side, verified on the origin's.

use std::{io::Write, net::Ipv4Addr};

use rustls::{ClientConnection, Connection};

use super::{
    lab::{A_TEST, Lab, Setup},
    origin::{Origin, echo},
    wire::{Client, Hello},
};
use crate::upstream::PrivateAccess;

fn lab_and_origin(name: &str) -> (Lab, Origin) {
    let (origin, root) = Origin::tls(echo, name);
    (Lab::start(Setup { extra_ca: vec![root], ..Setup::default() }), origin)
}

#[test]
fn https_is_judged_and_forwarded() {
    let (lab, origin) = lab_and_origin("a.test");
    let mut client = lab.connect((A_TEST, origin.port())).tls(&lab.authority, Hello::to("a.test"));
    for _ in 0..3 {
        assert_eq!(client.get("a.test", "/x?q").body, "GET /x?q HTTP/1.1");
    }
    let alpn = client.stream.conn.alpn_protocol().map(<[u8]>::to_vec);
    assert_eq!(alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(lab.judged_urls()[0], format!("https://a.test:{}/x?q", origin.port()));
    assert_eq!((origin.requests().len(), origin.connections()), (3, 1));
}

#[test]
fn the_engine_is_made_ready_during_the_handshake() {
    let (lab, origin) = lab_and_origin("a.test");
    assert!(lab.prepared().is_empty());
    let mut client = lab.connect((A_TEST, origin.port())).tls(&lab.authority, Hello::to("a.test"));
    for _ in 0..2 {
        assert_eq!(client.get("a.test", "/").status, 200);
    }
    assert_eq!(lab.prepared(), [0]);
}

#[test]
fn the_host_must_be_that_of_the_handshake() {
    let (lab, origin) = lab_and_origin("a.test");
    let mut client = lab.connect((A_TEST, origin.port())).tls(&lab.authority, Hello::to("a.test"));
    assert_eq!(client.get("b.test", "/").status, 421);
    assert_eq!(client.get("a.test:1", "/").status, 421);
    assert_eq!(client.get("A.TEST.", "/").status, 200);
    assert_eq!(lab.judged_urls().len(), 1);
}

#[test]
fn without_a_server_name_the_address_tells_the_host() {
    let (lab, origin) = lab_and_origin("a.test");
    let silent = || Hello { send_sni: false, ..Hello::to("a.test") };
    let mut client = lab.connect((A_TEST, origin.port())).tls(&lab.authority, silent());
    assert_eq!(client.get("a.test", "/").status, 200);

    let (lab, origin) = lab_and_origin("127.0.0.1");
    let address = (Ipv4Addr::LOCALHOST, origin.port());
    let mut client = lab.connect(address).tls(&lab.authority, Hello::to("127.0.0.1"));
    assert_eq!(client.get(&format!("127.0.0.1:{}", origin.port()), "/").status, 200);
    assert_eq!(client.get("a.test", "/").status, 421);
    assert_eq!(lab.judged_urls(), [format!("https://127.0.0.1:{}/", origin.port())]);
}

#[test]
fn a_hello_is_understood_however_it_is_cut() {
    let (lab, origin) = lab_and_origin("a.test");
    let hello = first_flight(&lab);
    // At every byte of the record's and the message's heads, and some inside.
    for cut in (1..48).chain([100, 150, hello.len() - 1]) {
        let mut client = lab.connect((A_TEST, origin.port()));
        client.send(&hello[..cut]).send(&hello[cut..]);
        assert_eq!(handshake_record(&mut client), 0x16, "cut at {cut}");
    }
    let mut client = lab.connect((A_TEST, origin.port()));
    for byte in &hello {
        client.send([*byte]);
    }
    assert_eq!(handshake_record(&mut client), 0x16);
}

#[test]
fn a_hello_in_records_of_one_byte_is_understood() {
    let (lab, origin) = lab_and_origin("a.test");
    let hello = first_flight(&lab);
    let mut client = lab.connect((A_TEST, origin.port()));
    let records: Vec<u8> = hello[5..].iter().flat_map(|byte| [0x16, 3, 1, 0, 1, *byte]).collect();
    client.send(records);
    assert_eq!(handshake_record(&mut client), 0x16);
}

#[test]
fn a_handshake_that_fails_gets_an_alert() {
    let (lab, origin) = lab_and_origin("a.test");
    let stranger = Hello { alpn: &["irc"], ..Hello::to("a.test") };
    let mut client = lab.connect((A_TEST, origin.port())).tls(&lab.authority, stranger);
    assert!(client.stream.write_all(b"x").is_err());
    let mut client = lab.connect((A_TEST, origin.port()));
    client.send(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00");
    assert_eq!(handshake_record(&mut client), 0x15);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn origins_are_always_verified() {
    let (origin, _untrusted) = Origin::tls(echo, "a.test");
    let lab = Lab::start(Setup::default());
    let mut client = lab.connect((A_TEST, origin.port())).tls(&lab.authority, Hello::to("a.test"));
    let reply = client.get("a.test", "/secret");
    assert_eq!(reply.status, 502);
    assert!(reply.body.contains("certificate"), "{}", reply.body);
    assert_eq!(reply.body.lines().count(), 1);
    assert_eq!(origin.requests().len(), 0);

    let (lab, origin) = lab_and_origin("other.test");
    let mut client = lab.connect((A_TEST, origin.port())).tls(&lab.authority, Hello::to("a.test"));
    assert_eq!(client.get("a.test", "/secret").status, 502);
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn private_origins_are_closed_inside_tls_too() {
    let (origin, root) = Origin::tls(echo, "a.test");
    let private = PrivateAccess::None;
    let lab = Lab::start(Setup { private, extra_ca: vec![root], ..Setup::default() });
    let mut client = lab.connect((A_TEST, origin.port())).tls(&lab.authority, Hello::to("a.test"));
    assert_eq!(client.get("a.test", "/").status, 502);
    assert_eq!(origin.connections(), 0);
}

pub(super) fn first_flight(lab: &Lab) -> Vec<u8> {
    let connection: ClientConnection = Hello::to("a.test").connection(&lab.authority);
    let mut hello = Vec::new();
    Connection::from(connection).write_tls(&mut hello).unwrap();
    hello
}

/// The type of the first record that comes.
pub(super) fn handshake_record(client: &mut Client) -> u8 {
    use std::io::Read;
    let mut record = [0];
    client.stream.read_exact(&mut record).unwrap();
    record[0]
}
