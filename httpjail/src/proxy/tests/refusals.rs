//! What never gets as far as the rule, or no further than it.

use std::{io::ErrorKind, time::Duration};

use super::{
    lab::{A_TEST, Lab, Setup, allow_bytes, deny},
    origin::{Origin, echo},
};
use crate::{
    policy::{Decision, Limits, RequestFacts},
    proxy::Timeouts,
    upstream::PrivateAccess,
};

#[test]
fn a_connection_of_another_user_is_reset() {
    let lab = Lab::start(Setup::default());
    let mut client = lab.connect_from_outside();
    let error = client.rest().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_flow_is_found_once() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    assert_eq!(lab.connect((A_TEST, origin.port())).get("a.test", "/").status, 200);
    lab.connect_from_outside().rest().unwrap_err();
}

#[test]
fn what_is_neither_tls_nor_http_is_closed() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    for bytes in ["SSH-2.0-OpenSSH x y\r\n", "EHLO a.test\r\n"] {
        let mut client = lab.connect((A_TEST, origin.port()));
        assert_eq!(client.send(bytes).rest().unwrap_or_default(), "", "{bytes:?}");
    }
    assert_eq!(origin.connections(), 0);
    // The rule allows them, and it isn't enough.
    assert_eq!(lab.judged_urls(), vec![format!("tcp://a.test:{}", origin.port()); 2]);
}

#[test]
fn a_silent_client_is_given_up() {
    let timeouts = Timeouts { first_bytes: Duration::from_millis(20), ..Timeouts::default() };
    let lab = Lab::start(Setup { timeouts, ..Setup::default() });
    assert_eq!(lab.connect((A_TEST, 22)).rest().unwrap(), "");
    assert_eq!(lab.connect((A_TEST, 22)).send("GET /").rest().unwrap_or_default(), "");
}

#[test]
fn a_head_that_never_ends_is_given_up_and_an_idle_connection_kept() {
    let timeouts = Timeouts { head: Duration::from_millis(40), ..Timeouts::default() };
    let lab = Lab::start(Setup { timeouts, ..Setup::default() });
    let origin = Origin::plain(echo);
    let mut idle = lab.connect((A_TEST, origin.port()));
    assert_eq!(idle.get("a.test", "/").status, 200);
    let mut slow = lab.connect((A_TEST, origin.port()));
    assert_eq!(slow.send("GET / HTTP/1.1\r\nHost: a").rest().unwrap_or_default(), "");
    // Longer ago than any head may take.
    assert_eq!(idle.get("a.test", "/").status, 200);
    assert_eq!(idle.send("GET / HTTP/1.1\r\n").rest().unwrap_or_default(), "");
}

#[test]
fn an_idle_connection_ends_when_its_time_has_come() {
    let timeouts = Timeouts { idle: Duration::from_millis(20), ..Timeouts::default() };
    let lab = Lab::start(Setup { timeouts, ..Setup::default() });
    let origin = Origin::plain(echo);
    let mut client = lab.connect((A_TEST, origin.port()));
    assert_eq!(client.get("a.test", "/").status, 200);
    assert_eq!(client.rest().unwrap_or_default(), "");
}

#[test]
fn incoherent_requests_are_refused_before_the_rule() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: u@a.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.test:1\r\n\r\n", 421),
        ("GET http://a.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n", 400),
        ("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        ("CONNECT a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        ("CONNECT a.test:443 HTTP/1.1\r\n\r\n", 400),
        ("CONNECT a.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n", 400),
        ("CONNECT u@a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", 400),
        ("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nContent-Length: 1\r\n\r\nx", 400),
    ] {
        let reply = lab.connect((A_TEST, origin.port())).ask(request);
        assert_eq!(reply.status, status, "{request}");
        assert!(reply.body.starts_with("Request refused by httpjail: "), "{reply:?}");
    }
    assert_eq!(lab.judged_urls(), [""; 0]);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn heads_have_a_limit() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    let many = "X: y\r\n".repeat(500);
    let ask = |fields: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
        lab.connect((A_TEST, origin.port())).ask(&request).status
    };
    assert_eq!(ask(&many), 200);
    assert_eq!(ask(&many.repeat(2)), 431);
    assert_eq!(ask(&format!("X: {}\r\n", "y".repeat(600 * 1024))), 431);
}

#[test]
fn special_addresses_are_refused_with_a_hint() {
    let lab = Lab::start(Setup { private: PrivateAccess::None, ..Setup::default() });
    let origin = Origin::plain(echo);
    for host in ["a.test", "127.0.0.1", "[::ffff:127.0.0.1]", "169.254.169.254"] {
        let reply = lab.connect((A_TEST, origin.port())).get(host, "/");
        assert_eq!(reply.status, 502, "{host}");
        assert!(reply.body.contains("--allow-private allows it"), "{host}: {}", reply.body);
        assert_eq!(reply.body.lines().count(), 1);
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn the_proxy_never_asks_itself() {
    let lab = Lab::start(Setup::default());
    let reply = lab.connect(lab.address()).get("127.0.0.1", "/");
    assert_eq!(reply.status, 508);
    assert!(reply.body.contains("this proxy itself"), "{}", reply.body);
}

#[test]
fn an_origin_that_is_not_there_is_told_in_one_line() {
    let lab = Lab::start(Setup::default());
    // Bound and not listening: nobody else can take the port meanwhile.
    let closed = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    closed.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let port = closed.local_addr().unwrap().as_socket().unwrap().port();
    let reply = lab.connect((A_TEST, port)).get("a.test", "/");
    assert_eq!(reply.status, 502);
    assert!(reply.body.contains("Connection refused"), "{}", reply.body);
    assert_eq!(reply.body.lines().count(), 1);
}

/// Programs may look for it. Origins get no such hint.
#[test]
fn every_answer_says_that_it_came_through_httpjail() {
    let rule = |facts: &RequestFacts| match facts.path.as_str() {
        "/no" => deny("no"),
        "/short" => allow_bytes(1),
        _ => Decision::Allow(Limits::default()),
    };
    let lab = Lab::start(Setup { rule, ..Setup::default() });
    let origin = Origin::plain(echo);
    let at = (A_TEST, origin.port());
    for (path, status) in [("/", 200), ("/no", 403), ("/short", 413)] {
        let reply = lab.connect(at).get("a.test", path);
        assert_eq!((reply.status, reply.header("httpjail")), (status, vec!["true"]), "{path}");
    }
    let of_itself = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", lab.address());
    for (ask, status) in [("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400), (&of_itself, 508)] {
        let reply = lab.connect_to_proxy().ask(ask);
        assert_eq!((reply.status, reply.header("httpjail")), (status, vec!["true"]), "{ask}");
    }
    let gone = lab.connect(lab.address()).get("127.0.0.1", "/");
    assert_eq!((gone.status, gone.header("httpjail")), (508, vec!["true"]));
    let seen = origin.request().to_ascii_lowercase();
    assert!(!seen.contains("httpjail") && !seen.contains("loop"), "{seen}");
}

#[test]
fn an_unasked_switch_of_protocols_is_no_tunnel() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(|_| {
        Some("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".into())
    });
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    assert_eq!(lab.connect((A_TEST, origin.port())).ask(request).status, 502);
    assert!(!origin.request().contains("upgrade"), "{}", origin.request());
}

#[test]
fn nothing_is_read_after_a_request_that_could_not_be_judged() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    let mut client = lab.connect((A_TEST, origin.port()));
    client.send(
        "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n\
         GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    );
    let answers = client.rest().unwrap();
    assert!(answers.starts_with("HTTP/1.1 400 "), "{answers}");
    assert_eq!(answers.matches("HTTP/1.1").count(), 1 + answers.matches("an HTTP/1.1").count());
    assert_eq!(origin.connections(), 0);
}
