//! Host headers as an attacker writes them: the rule, the record, the dialler and the origin have
//! the same host, or nobody has any.

use super::{
    attempt::{EVIL, Outcome, attempt, attempt_with},
    lab::Setup,
};
use crate::upstream::PrivateAccess;

fn get(host: &[u8]) -> Vec<u8> {
    [b"GET /x HTTP/1.1\r\nHost: ", host, b"\r\n\r\n", EVIL.as_bytes()].concat()
}

#[test]
fn hosts_are_judged_and_dialled_by_their_canonical_name() {
    for (host, canonical) in [
        ("A.TEST", "a.test"),
        ("a.test.", "a.test"),
        ("A.Test.:PORT", "a.test"),
        ("b.test:PORT", "b.test"),
        (" \t a.test\t ", "a.test"),
        ("%61.test", "a.test"),
        ("a%2etest", "a.test"),
        ("ａ.test", "a.test"),
        ("a。test", "a.test"),
        ("a．ｔｅｓｔ", "a.test"),
        ("a\u{ad}.test", "a.test"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.:PORT", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0x7F000001", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0177.1", "127.0.0.1"),
        ("１２７.0.0.1", "127.0.0.1"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("[::FFFF:7f00:1]:PORT", "127.0.0.1"),
    ] {
        eprintln!("{host}");
        let (url, evil) = (format!("http://{canonical}:PORT/x"), "- GET http://a.test:PORT/EVIL");
        let (record, seen) = (format!("+ GET {url}"), format!("GET {url}"));
        let expected = Outcome::new(&[200, 403], &[&record, evil], &[&seen]);
        assert_eq!(attempt(&get(host.as_bytes()), 2), expected, "{host}");
    }
}

#[test]
fn other_hosts_are_other_hosts() {
    for (host, canonical) in [
        ("a.test.evil", "a.test.evil"),
        ("evila.test", "evila.test"),
        ("evil.a.test", "evil.a.test"),
        ("a_test", "a_test"),
        ("bücher.test", "xn--bcher-kva.test"),
        // Cyrillic.
        ("а.test", "xn--80a.test"),
        ("0x7f.1.evil", "0x7f.1.evil"),
        ("0x7f.1.0x", "127.1.0.0"),
        ("[::1]", "[::1]"),
        ("[0:0:0::0:1]:PORT", "[::1]"),
        ("[64:ff9b::7f00:1]", "[64:ff9b::7f00:1]"),
        ("[2002:7f00:1::]", "[2002:7f00:1::]"),
    ] {
        eprintln!("{host}");
        let record = format!("- GET http://{canonical}:PORT/x");
        let evil = "- GET http://a.test:PORT/EVIL";
        let expected = Outcome::new(&[403, 403], &[&record, evil], &[]);
        assert_eq!(attempt(&get(host.as_bytes()), 2), expected, "{host}");
    }
}

#[test]
fn hosts_that_two_programs_could_read_differently_are_refused() {
    for host in [
        &b""[..],
        b".",
        b"a.test..",
        b"a..test",
        b".a.test",
        b"a.test,b.test",
        b"a.test, b.test",
        b"a.test b.test",
        b"a.test/",
        b"a.test/b.test",
        b"a.test\\b.test",
        b"a.test?b.test",
        b"a.test#b.test",
        b"u@a.test",
        b"a.test@b.test",
        b"a.test%40b.test",
        b"a.test%00b.test",
        b"a.test%2fb",
        b"a.test%0d%0aX:y",
        b"a.test%",
        b"a.test%zz",
        b"a.test:",
        b"a.test:0",
        b"a.test:0PORT",
        b"a.test:+PORT",
        b"a.test:PORT:PORT",
        b"a.test:65536",
        b"a.test:http",
        b"http://a.test",
        b"a.te\xffst",
        b"\xff",
        b"xn--a.test\xcc\x88",
        b"::1",
        b"[::1",
        b"[::1]x",
        b"[::1%25lo]",
        b"[fe80::1%25eth0]:PORT",
        b"[a.test]",
        b"256.256.256.256",
        b"1.2.3.4.5",
        b"4294967296",
        b"a.test\r\nHost: a.test",
        b"a.test\r\nHost: b.test",
        b"a.test\r\nHOST: b.test\r\nConnection: Host",
    ] {
        let shown = host.escape_ascii();
        eprintln!("{shown}");
        let expected = Outcome::new(&[400], &["- HTTP http://a.test:PORT"], &[]);
        assert_eq!(attempt(&get(host), 1), expected, "{shown}");
    }
}

#[test]
fn a_port_that_is_not_the_connection_s_is_misdirected() {
    let (refused, evil) = ("- HTTP http://a.test:PORT", "- GET http://a.test:PORT/EVIL");
    let expected = Outcome::new(&[421, 403], &[refused, evil], &[]);
    for host in ["a.test:1", "a.test:80", "b.test:443", "127.0.0.1:22"] {
        assert_eq!(attempt(&get(host.as_bytes()), 2), expected, "{host}");
    }
}

#[test]
fn addresses_that_carry_a_special_one_are_never_dialled() {
    for host in [
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.1",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::169.254.169.254]",
        "[64:ff9b:1::1.1.1.1]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::1]",
        "[::127.0.0.1]",
        "[::1]",
        "[::]",
        "0.0.0.0",
        "0",
        "169.254.169.254",
        "198.18.0.1",
    ] {
        eprintln!("{host}");
        let setup = Setup { private: PrivateAccess::None, ..Setup::default() };
        let bytes = format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let outcome = attempt_with(setup, bytes.as_bytes(), 1);
        assert_eq!((&outcome.answers[..], outcome.seen.len()), (&[502][..], 0), "{host}");
        let [record] = &outcome.records[..] else { panic!("one record: {outcome:?}") };
        assert!(record.starts_with("+ GET http://"), "{record}");
    }
}

#[test]
fn a_refusal_repeats_nothing_of_the_request() {
    use super::{
        lab::{A_TEST, Lab},
        origin::{Origin, echo},
    };
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    for (target, host) in
        [("/<script>", "<script>"), ("http://<script>/", "a.test"), ("/<script>", "a.test,<b>")]
    {
        let mut client = lab.connect((A_TEST, origin.port()));
        let reply = client.ask(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(reply.status, 400, "{target} {host}");
        assert!(!reply.body.contains('<') && !reply.head.contains('<'), "{reply:?}");
    }
    assert_eq!(origin.connections(), 0);
}
