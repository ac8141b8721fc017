//! Connections that are neither TLS nor HTTP, or that an option opens unread.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use socket2::SockRef;

use super::{
    lab::{A_TEST, Lab, Setup, allow_bytes, allow_tcp, deny},
    origin::{Origin, echo},
};
use crate::{
    policy::{Decision, Limits, Opaque, Openings, RequestFacts, Scheme},
    proxy::Timeouts,
    upstream::PrivateAccess,
};

const GREETING: &str = "220 ready\r\n";

/// A server that says `greeting` first, then answers what it hears until the end in capitals.
pub(super) fn greeter(greeting: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || greet(stream, greeting));
        }
    });
    address
}

fn greet(mut stream: TcpStream, greeting: &str) -> std::io::Result<()> {
    stream.write_all(greeting.as_bytes())?;
    let mut heard = String::new();
    stream.read_to_string(&mut heard)?;
    stream.write_all(heard.to_uppercase().as_bytes())
}

/// A server that gives its connections to the test.
fn raw() -> (SocketAddr, Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (give, get) = channel();
    thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| drop(give.send(stream)));
    });
    (address, get)
}

fn opened(target: &str) -> Setup {
    let openings = Openings { tcp: vec![target.parse().unwrap()], ..Openings::default() };
    Setup { openings, rule: |_| deny("no"), ..Setup::default() }
}

/// A rule that opens every connection, and knows that there are some.
fn knowing(rule: fn(&RequestFacts) -> Decision) -> Setup {
    let timeouts = Timeouts { silence: Duration::from_millis(30), ..Timeouts::default() };
    Setup { rule, knows_tcp: true, timeouts, ..Setup::default() }
}

#[test]
fn what_an_option_opens_passes_whoever_speaks_first() {
    let lab = Lab::start(opened("a.test:*"));
    let port = greeter(GREETING).port();
    let mut client = lab.connect((A_TEST, port));
    assert_eq!(client.until(b"\n"), GREETING);
    client.send("GET / HTTP/1.1\r\n").half_close();
    assert_eq!(client.rest().unwrap(), "GET / HTTP/1.1\r\n");
    let silent = greeter("").port();
    let mut client = lab.connect((A_TEST, silent));
    client.send("\0\x01binary").half_close();
    assert_eq!(client.rest().unwrap(), "\0\x01BINARY");
    assert_eq!(lab.judged_urls(), [""; 0], "the option alone decides");
    let opened = [port, silent].map(|port| format!("+ TCP tcp://a.test:{port}"));
    assert_eq!(lab.records(), opened);
}

#[test]
fn an_option_opens_its_own_target_alone() {
    let server = greeter(GREETING);
    let lab = Lab::start(opened(&format!("a.test:{}", server.port())));
    let other = greeter(GREETING);
    let mut client = lab.connect((A_TEST, other.port()));
    assert_eq!(client.send("EHLO a\r\n").rest().unwrap_or_default(), "", "another port");
    let mut client = lab.connect(server);
    assert_eq!(client.send("EHLO a\r\n").rest().unwrap_or_default(), "", "its address");
    assert_eq!(
        lab.records(),
        [
            format!("- TCP tcp://a.test:{}", other.port()),
            format!("- TCP tcp://127.0.0.1:{}", server.port()),
        ]
    );
}

#[test]
fn a_rule_opens_connections_only_in_so_many_words() {
    for (rule, sign) in [
        ((|_| allow_tcp()) as fn(&RequestFacts) -> Decision, '+'),
        (|_| Decision::Allow(Limits::default()), '-'),
        (|_| allow_bytes(100), '-'),
        (|_| deny("no"), '-'),
    ] {
        let lab = Lab::start(Setup { rule, ..Setup::default() });
        let port = greeter("").port();
        let mut client = lab.connect((A_TEST, port));
        client.send("EHLO a.test\r\n");
        // It may have been reset meanwhile.
        let _ = client.stream.shutdown(Shutdown::Write);
        let heard = client.rest().unwrap_or_default();
        assert_eq!(heard, if sign == '+' { "EHLO A.TEST\r\n" } else { "" });
        let [facts] = &lab.judged()[..] else { panic!("judged once") };
        assert_eq!((facts.scheme, facts.method.as_str()), (Scheme::Tcp, "TCP"));
        assert_eq!(facts.process.as_ref().map(|process| process.pid), Some(7));
        assert_eq!(lab.records(), [format!("{sign} TCP tcp://a.test:{port}")]);
    }
}

#[test]
fn a_rule_that_knows_of_tcp_opens_for_servers_that_speak_first() {
    let lab = Lab::start(knowing(|_| allow_tcp()));
    let port = greeter(GREETING).port();
    let mut client = lab.connect((A_TEST, port));
    assert_eq!(client.until(b"\n"), GREETING);
    client.send("quit").half_close();
    assert_eq!(client.rest().unwrap(), "QUIT");
    assert_eq!(lab.judged_urls(), [format!("tcp://a.test:{port}")]);
    assert_eq!(lab.records(), [format!("+ TCP tcp://a.test:{port}")]);
}

#[test]
fn what_a_client_began_to_say_before_its_silence_comes_first() {
    let lab = Lab::start(knowing(|_| allow_tcp()));
    let port = greeter(GREETING).port();
    let mut client = lab.connect((A_TEST, port));
    assert_eq!(client.send("GE").until(b"\n"), GREETING);
    client.send("T").half_close();
    assert_eq!(client.rest().unwrap(), "GET");
}

#[test]
fn a_slow_client_that_may_not_speak_tcp_is_served_as_ever_with_one_record() {
    let rule = |facts: &RequestFacts| match facts.scheme {
        Scheme::Tcp => deny("no"),
        Scheme::Http | Scheme::Https | Scheme::Tls => Decision::Allow(Limits::default()),
    };
    let lab = Lab::start(knowing(rule));
    let origin = Origin::plain(echo);
    let mut slow = lab.connect((A_TEST, origin.port()));
    while lab.judged().is_empty() {
        thread::yield_now();
    }
    assert_eq!(slow.get("a.test", "/").status, 200);
    let mut opaque = lab.connect((A_TEST, origin.port()));
    while lab.judged().len() < 3 {
        thread::yield_now();
    }
    assert_eq!(opaque.send("EHLO a\r\n").rest().unwrap_or_default(), "");
    let silent = lab.connect((A_TEST, origin.port()));
    while lab.judged().len() < 5 {
        thread::yield_now();
    }
    drop(silent);
    let target = format!("a.test:{}", origin.port());
    let records = [format!("+ GET http://{target}/"), format!("- TCP tcp://{target}")];
    assert_eq!(lab.records(), records, "who said nothing asked for nothing");
}

#[test]
fn silent_clients_are_not_asked_about_where_no_rule_knows_of_tcp() {
    let lab = Lab::start(Setup { knows_tcp: false, ..knowing(|_| allow_tcp()) });
    let port = greeter("").port();
    let mut client = lab.connect((A_TEST, port));
    client.stream.set_read_timeout(Some(Duration::from_millis(90))).unwrap();
    let silence = client.stream.read(&mut [0]).unwrap_err();
    assert_eq!((silence.kind(), lab.judged().len()), (ErrorKind::WouldBlock, 0));
    // What it says is judged all the same.
    client.send("hello\r\n").half_close();
    client.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(client.rest().unwrap(), "HELLO\r\n");
}

#[test]
fn max_tx_bytes_holds_for_connections() {
    let rule = |_: &RequestFacts| {
        Decision::Allow(Limits { max_tx_bytes: Some(5), opaque: Opaque::Allowed })
    };
    let lab = Lab::start(knowing(rule));
    let (address, connections) = raw();
    let mut client = lab.connect((A_TEST, address.port()));
    client.send("1\r\n4");
    let mut server = connections.recv().unwrap();
    let mut heard = [0; 4];
    server.read_exact(&mut heard).unwrap();
    server.write_all(b"go on\n").unwrap();
    client.until(b"\n");
    client.send("56");
    let mut rest = Vec::new();
    let error = server.read_to_end(&mut rest).unwrap_err();
    assert_eq!((error.kind(), &heard), (ErrorKind::ConnectionReset, b"1\r\n4"));
    assert!(rest.is_empty() || rest == b"5", "{rest:?}");
    assert_eq!(client.rest().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_is_passed_on_either_way() {
    for client_resets in [true, false] {
        let lab = Lab::start(opened("*:*"));
        let (address, connections) = raw();
        let mut client = lab.connect((A_TEST, address.port())).stream;
        let mut server = connections.recv().unwrap();
        let (breaks, mut other) = if client_resets { (client, server) } else { (server, client) };
        SockRef::from(&breaks).set_linger(Some(Duration::ZERO)).unwrap();
        drop(breaks);
        let error = other.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "by the client: {client_resets}");
        (client, server) = (other.try_clone().unwrap(), other);
        drop((client, server));
    }
}

#[test]
fn a_server_that_is_not_to_be_reached_is_a_reset() {
    let lab = Lab::start(Setup { private: PrivateAccess::None, ..opened("*:*") });
    let server = greeter(GREETING);
    let mut client = lab.connect((A_TEST, server.port()));
    assert_eq!(client.rest().unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(lab.records(), [format!("+ TCP tcp://a.test:{}", server.port())]);
}

#[test]
fn a_tunnel_by_connect_is_opened_like_a_connection_to_its_target() {
    let server = greeter(GREETING).port();
    for setup in [opened(&format!("a.test:{server}")), knowing(|_| allow_tcp())] {
        let lab = Lab::start(setup);
        let mut client = lab.connect(([192, 0, 2, 1], 3128));
        client.send(format!("CONNECT a.test:{server} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        assert!(client.until(b"\r\n\r\n").starts_with("HTTP/1.1 200 "));
        assert_eq!(client.until(b"\n"), GREETING);
        client.send("quit").half_close();
        assert_eq!(client.rest().unwrap(), "QUIT");
        assert_eq!(lab.records(), [format!("+ TCP tcp://a.test:{server}")]);
    }
}

/// The command says it and ends, and the run with it.
#[test]
fn last_words_arrive() {
    let lab = Lab::start(opened("a.test:*"));
    let (address, connections) = raw();
    let words = "last words ".repeat(10_000);
    let mut client = lab.connect((A_TEST, address.port()));
    client.send(&words);
    drop(client);
    lab.await_records(1);
    lab.records();
    let mut heard = String::new();
    connections.recv().unwrap().read_to_string(&mut heard).unwrap();
    assert!(heard == words, "{} of {} bytes", heard.len(), words.len());
}

#[test]
fn floods_pass_whole_both_ways_at_once() {
    let lab = Lab::start(opened("a.test:*"));
    let (address, connections) = raw();
    let client = lab.connect((A_TEST, address.port())).stream;
    let server = connections.recv().unwrap();
    let bytes: Vec<u8> = (0..8_000_003_u32).map(|n| (n % 251) as u8).collect();
    thread::scope(|scope| {
        for mut end in [&client, &server] {
            let bytes = &bytes;
            scope.spawn(move || {
                end.write_all(bytes).unwrap();
                end.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(move || {
                let mut heard = Vec::new();
                end.read_to_end(&mut heard).unwrap();
                assert!(heard == *bytes);
            });
        }
    });
}
