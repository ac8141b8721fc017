//! Client hellos as an attacker writes them.

use std::{
    io::{ErrorKind, Read, Write},
    net::Shutdown,
};

use rustls::{ClientConnection, Connection};

use super::{
    lab::{A_TEST, Lab, Setup},
    origin::{Origin, echo},
    wire::Hello,
};
use crate::policy::Scheme;

const ALERT: u8 = 0x15;
const HANDSHAKE: u8 = 0x16;

/// The first byte of what the proxy answers to `bytes`, if anything, and the only record.
fn greet(bytes: impl FnOnce(&Lab) -> Vec<u8>) -> (Option<u8>, String) {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    let mut client = lab.connect((A_TEST, origin.port()));
    // The proxy may have had enough before all is sent.
    let _ = client.stream.write_all(&bytes(&lab));
    let mut first = [0];
    let answer = match client.stream.read(&mut first) {
        Ok(0) => None,
        Ok(_) => Some(first[0]),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it came to an end");
            None
        }
    };
    // Nobody finishes the handshake.
    let _ = client.stream.shutdown(Shutdown::Write);
    let _ = client.stream.read_to_end(&mut Vec::new());
    // What is no TLS is judged as what it is.
    assert!(lab.judged().iter().all(|facts| facts.scheme == Scheme::Tcp));
    assert_eq!(origin.connections(), 0);
    let records = lab.records();
    let [record] = &records[..] else { panic!("one record: {records:?}") };
    (answer, record.replace(&origin.port().to_string(), "PORT"))
}

/// A hello whose server name is `name`, byte for byte.
fn named(lab: &Lab, name: &[u8]) -> Vec<u8> {
    let stand_in: &'static str = match name.len() {
        6 => "a.test",
        9 => "aaaa.test",
        11 => "aaaaaa.test",
        other => panic!("no name of {other} bytes"),
    };
    let connection: ClientConnection = Hello::to(stand_in).connection(&lab.authority);
    let mut hello = Vec::new();
    Connection::from(connection).write_tls(&mut hello).unwrap();
    let at = hello.windows(name.len()).position(|window| window == stand_in.as_bytes()).unwrap();
    hello[at..at + name.len()].copy_from_slice(name);
    hello
}

#[test]
fn server_names_are_canonical_or_refused() {
    let own = "- TLS tls://a.test:PORT";
    for (name, answer, record) in [
        (&b"a.test"[..], HANDSHAKE, own),
        (b"A.TesT", HANDSHAKE, own),
        (b"b.test", HANDSHAKE, "- TLS tls://b.test:PORT"),
        (b"a_test", HANDSHAKE, "- TLS tls://a_test:PORT"),
        // An address is no server name; the connection's own counts.
        (b"127.0.0.1", HANDSHAKE, own),
        (b"a.te\0t", ALERT, own),
        (b"\0.test", ALERT, own),
        (b"a.te\xffx", ALERT, own),
        (b"b\xc3\xbc.te", ALERT, own),
        (b"a..tes", ALERT, own),
        (b".atest", ALERT, own),
        (b"a test", ALERT, own),
        (b"a/test", ALERT, own),
        (b"a,test", ALERT, own),
        (b"a:test", ALERT, own),
        (b"u@test", ALERT, own),
        (b"*.test", ALERT, own),
        (b"%61.te", ALERT, own),
        (b"\r\n.tes", ALERT, own),
    ] {
        let shown = name.escape_ascii();
        assert_eq!(greet(|lab| named(lab, name)), (Some(answer), record.into()), "{shown}");
    }
}

#[test]
fn names_that_are_numbers_never_get_a_certificate_for_another_host() {
    // The name of the leaf and of the record is the canonical address, as everywhere.
    for (name, record) in [
        (&b"0x7f.1"[..], "- TLS tls://127.0.0.1:PORT"),
        (b"0177.1", "- TLS tls://127.0.0.1:PORT"),
        (b"0x7f.0.0.1\0", "- TLS tls://a.test:PORT"),
    ] {
        let (_, told) = greet(|lab| named(lab, name));
        assert!(told == record || told == "- TLS tls://a.test:PORT", "{told}");
    }
}

#[test]
fn hellos_that_are_none_get_an_alert_at_most() {
    let old = [
        // A record, and in it a hello of TLS 1.0 alone.
        &[0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1][..],
        &[0; 32],
        &[0, 0, 2, 0, 0x2f, 1, 0],
    ]
    .concat();
    for hello in [
        old,
        // A record of more than a record holds, and one of nothing.
        b"\x16\x03\x01\xff\xff\x01".to_vec(),
        b"\x16\x03\x01\x00\x00".to_vec(),
        // Of no known type, and one of the server's.
        b"\x16\x03\x01\x00\x04\x63\x00\x00\x00".to_vec(),
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00".to_vec(),
        // Application data inside.
        b"\x16\x03\x01\x00\x01\x01\x17\x03\x03\x00\x01x".to_vec(),
    ] {
        let shown = hello.escape_ascii().to_string();
        let (answer, record) = greet(|_| hello);
        assert!(matches!(answer, Some(ALERT) | None), "{shown}: {answer:?}");
        assert_eq!(record, "- TLS tls://a.test:PORT", "{shown}");
    }
}

#[test]
fn a_hello_that_is_too_long_is_cut_off() {
    // It says 16 MiB, and more has come than any hello has.
    let piece = [&b"\x16\x03\x01\x40\x00\x01\xff\xff\xff"[..], &[0; 0x3ffc]].concat();
    assert_eq!(greet(|_| piece.repeat(5)), (None, "- TLS tls://a.test:PORT".into()));
}

#[test]
fn hellos_of_ssl_2_are_no_tls() {
    let (answer, record) = greet(|_| b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10".to_vec());
    assert_eq!((answer, &*record), (None, "- TCP tcp://a.test:PORT"));
}
