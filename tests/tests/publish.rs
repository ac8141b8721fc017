//! Ports that `--publish` names: clients on the machine reach them, and nothing else changes.

use std::net::SocketAddr;

use httpjail_tests::addresses::{CLIENT_V4, CLIENT_V6};
use httpjail_tests::{Invocation, Lab};

/// What the probe's listener says to whom it accepts.
const HELLO: &str = "hello from the listener";
/// The port that is published.
const PORT: u16 = 7001;

fn published(lab: &Lab) -> Invocation<'_> {
    lab.jail().js("true").option("--publish").option(PORT.to_string())
}

/// Whether a client outside of the jail is greeted by a listener at `place`.
fn is_reached(lab: &Lab, place: &Invocation<'_>, listen: &str, connect: &str) -> bool {
    let server = place.start_probe(["listen", listen]);
    server.line("listening");
    let client = lab.outside().probe(["tcp", connect, "--mark", "hello\n"]).exits(0);
    let greeted = client.stdout.contains(HELLO);
    let seen = server.finish().exits(0).report();
    assert_eq!(seen["seen"]["accepted"] == 1, greeted, "{connect}: {client:?}");
    greeted
}

#[test]
fn a_published_port_is_reached_from_the_machine() {
    let lab = Lab::new();
    for (listen, connect) in [
        ("127.0.0.1:7001".to_owned(), "127.0.0.1:7001".to_owned()),
        ("[::1]:7001".to_owned(), "[::1]:7001".to_owned()),
        ("[::]:7001".to_owned(), "127.0.0.1:7001".to_owned()),
        ("0.0.0.0:7001".to_owned(), format!("{CLIENT_V4}:7001")),
        ("[::]:7001".to_owned(), format!("[{CLIENT_V6}]:7001")),
    ] {
        assert!(is_reached(&lab, &lab.outside(), &listen, &connect), "without a jail: {connect}");
        assert!(!is_reached(&lab, &lab.jail(), &listen, &connect), "not published: {connect}");
        for jail in [published(&lab), published(&lab).as_user()] {
            assert!(is_reached(&lab, &jail, &listen, &connect), "published: {connect}");
        }
    }
    lab.assert_clean();
}

#[test]
fn another_port_stays_closed() {
    let lab = Lab::new();
    for port in [7000, 7002, PORT.swap_bytes()] {
        let address = SocketAddr::from(([127, 0, 0, 1], port)).to_string();
        assert!(is_reached(&lab, &lab.outside(), &address, &address), "without a jail: {port}");
        assert!(!is_reached(&lab, &published(&lab), &address, &address), "{port}");
    }
    let eighth = (7010..7017)
        .fold(published(&lab), |jail, port| jail.option("--publish").option(port.to_string()));
    for port in ["127.0.0.1:7001", "127.0.0.1:7016"] {
        assert!(is_reached(&lab, &eighth, port, port), "{port}");
    }
    lab.assert_clean();
}

#[test]
fn a_published_port_is_no_way_out() {
    let lab = Lab::new();
    for (host, source) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]")] {
        let server = lab.outside().start_probe(["listen", &format!("{host}:7002")]);
        server.line("listening");
        let (to, source) = (format!("{host}:7002"), format!("{source}:{PORT}"));
        for act in ["tcp", "fast-open"] {
            let act = [act, &to, "--source", &source, "--mark", "hello\n"];
            let twin = lab.outside().probe(act).exits(0);
            assert!(twin.stdout.contains(HELLO), "without a jail: {twin:?}");
            let jailed = published(&lab).probe(act).exits(0);
            assert!(!jailed.stdout.contains(HELLO), "{jailed:?}");
            assert_ne!(jailed.report()["step"], "bind", "it had the port: {jailed:?}");
        }
        let seen = server.finish().exits(0).report();
        assert_eq!(seen["seen"]["accepted"], 2, "the twins' alone: {seen}");
    }
    lab.assert_clean();
}

#[test]
fn datagrams_do_not_reach_a_published_port() {
    let lab = Lab::new();
    let ask = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
s.connect(('127.0.0.1', 7001))
s.send(b'x')
try: print(s.recv(10).decode())
except OSError as error: print(type(error).__name__)";
    for (place, answer) in [(lab.outside(), "x\n"), (published(&lab), "TimeoutError\n")] {
        let server = place.start_probe(["listen-udp", "127.0.0.1:7001"]);
        server.line("listening");
        assert_eq!(lab.outside().run(["python3", "-c", ask]).exits(0).stdout, answer);
        let count = u8::from(answer == "x\n");
        assert_eq!(server.finish().exits(0).report()["seen"]["accepted"], count);
    }
    lab.assert_clean();
}

#[test]
fn another_jail_does_not_reach_a_published_port() {
    let lab = Lab::new();
    let server = published(&lab).start_probe(["listen", "127.0.0.1:7001"]);
    server.line("listening");
    let act = ["tcp", "127.0.0.1:7001", "--mark", "hello\n"];
    for other in [lab.jail().js("true"), published(&lab)] {
        let other = other.probe(act).exits(0);
        assert!(!other.stdout.contains(HELLO), "{other:?}");
    }
    let twin = lab.outside().probe(act).exits(0);
    assert!(twin.stdout.contains(HELLO), "without a jail: {twin:?}");
    assert_eq!(server.finish().exits(0).report()["seen"]["accepted"], 1, "the twin's alone");
    lab.assert_clean();
}

#[test]
fn the_jail_reaches_its_own_published_port() {
    let lab = Lab::new();
    for listen in ["127.0.0.1:7001", "[::1]:7001"] {
        let jailed = published(&lab).probe(["pair", listen]).exits(0);
        assert_eq!(jailed.report()["seen"]["reply"], "in the jail?\n", "{jailed:?}");
        assert!(jailed.log.is_empty(), "{jailed:?}");
        let warnings: Vec<_> = jailed.stderr.lines().collect();
        assert!(
            matches!(warnings[..], [one] if one.contains("WARN --publish opens: ")),
            "{jailed:?}"
        );
    }
    lab.assert_clean();
}

/// The proxy's ports are chosen by the kernel; here it has but two that are not published.
#[test]
fn the_proxy_takes_no_published_port() {
    let ports = || 7001..7009;
    let lab = Lab::new();
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    lab.at_client(move || std::fs::write(range, "7001 7010")).expect("root may");
    let listen = "import socket, sys
for port in range(7001, 7009):
    for family, host in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
        server = socket.socket(family)
        if family == socket.AF_INET6: server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((host, port))
        server.listen()
        server.close()
print('all')";
    let jail = ports().fold(lab.jail(), |jail, port| jail.option(format!("--publish={port}")));
    let jailed = jail.run(["python3", "-c", listen]).exits(0);
    assert_eq!(jailed.stdout, "all\n");
    lab.assert_clean();
}

#[test]
fn warns_of_ports_that_the_command_cannot_bind() {
    const WARNING: &str = "--publish 80: the command isn't root and can't bind ports below 1024";
    let lab = Lab::new();
    let jail = || lab.jail().option("--publish=80").option("--publish=8080");
    let user = jail().as_user().run(["true"]).exits(0);
    assert!(user.stderr.contains(WARNING), "{}", user.stderr);
    let root = jail().run(["true"]).exits(0);
    assert!(!root.stderr.contains("can't bind"), "{}", root.stderr);
    let first = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    lab.at_client(move || std::fs::write(first, "80")).expect("root may");
    let user = jail().as_user().run(["true"]).exits(0);
    assert!(!user.stderr.contains("can't bind"), "{}", user.stderr);
    lab.assert_clean();
}
