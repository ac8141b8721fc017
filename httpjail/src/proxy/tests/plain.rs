//! Plain HTTP on its way through.

use super::{
    lab::{A_TEST, Lab, Setup, deny},
    origin::{Origin, echo},
};
use crate::policy::{Decision, Host, Limits};

#[test]
fn a_permitted_request_reaches_its_origin_and_comes_back() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    let host = format!("a.test:{}", origin.port());
    let reply = lab.connect((A_TEST, origin.port())).get(&host, "/x?q=1");
    assert_eq!((reply.status, reply.body.as_str()), (200, "GET /x?q=1 HTTP/1.1"));
    assert_eq!(reply.header("httpjail"), ["true"]);
    assert_eq!(origin.request(), format!("GET /x?q=1 HTTP/1.1\r\nhost: {host}\r\n\r\n"));

    let judged = lab.judged();
    assert_eq!(judged.len(), 1);
    assert_eq!(judged[0].path, "/x");
    assert_eq!(judged[0].query.as_deref(), Some("q=1"));
    assert_eq!(judged[0].requester.to_string(), "127.0.0.1");
    assert_eq!(judged[0].process.as_ref().map(|process| process.pid), Some(7));
}

#[test]
fn a_denied_request_is_never_seen_by_its_origin() {
    let rule = |_: &_| deny("not here\u{7}");
    let lab = Lab::start(Setup { rule, ..Setup::default() });
    let origin = Origin::plain(echo);
    let mut client = lab.connect((A_TEST, origin.port()));
    let reply = client.get("a.test", "/{script}");
    assert_eq!(reply.status, 403);
    assert_eq!(reply.body, "Request blocked by httpjail\nnot here\u{7}");
    assert_eq!(reply.header("httpjail"), ["true"]);
    assert_eq!(reply.header("content-type"), ["text/plain; charset=utf-8"]);
    assert_eq!(reply.header("x-content-type-options"), ["nosniff"]);
    // The connection lives on, and a denial has its body in answer to HEAD left out.
    assert_eq!(client.ask("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n").status, 403);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn every_request_of_a_connection_is_judged_by_itself() {
    let rule = |facts: &crate::policy::RequestFacts| match facts.authority.host() {
        Host::Name(name) if name == "a.test" => Decision::Allow(Limits::default()),
        _ => deny("other host"),
    };
    let lab = Lab::start(Setup { rule, ..Setup::default() });
    let origin = Origin::plain(echo);
    let port = origin.port();
    let mut client = lab.connect((A_TEST, port));
    // Pipelined: the second host must not ride on the first one's permission.
    let requests: String = ["a.test", "b.test", "a.test"]
        .iter()
        .map(|host| format!("GET /{host} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"))
        .collect();
    client.send(requests);
    let statuses = [0; 3].map(|_| client.reply(false).status);
    assert_eq!(statuses, [200, 403, 200]);
    assert_eq!(origin.requests().len(), 2);
    let url = |host: &str| format!("http://{host}:{port}/{host}");
    assert_eq!(lab.judged_urls(), [url("a.test"), url("b.test"), url("a.test")]);
}

#[test]
fn upstream_connections_are_used_again() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    let mut client = lab.connect((A_TEST, origin.port()));
    for _ in 0..20 {
        assert_eq!(client.get("a.test", "/").status, 200);
    }
    assert_eq!((origin.requests().len(), origin.connections()), (20, 1));
}

#[test]
fn a_pooled_connection_that_was_closed_is_replaced() {
    // The origin answers in full and closes without a word about it.
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(|request| match request.contains("/last") {
        true => None,
        false => echo(request),
    });
    let mut client = lab.connect((A_TEST, origin.port()));
    assert_eq!(client.get("a.test", "/").status, 200);
    let last = "POST /last HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(client.ask(last).status, 502);
    assert_eq!(client.get("a.test", "/").status, 200);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn the_hosts_own_resolution_is_dialled_and_not_the_clients_address() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    // The program connected to an address of its own choice with an allowed name.
    let reply = lab.connect(([45, 67, 89, 1], origin.port())).get("b.test", "/");
    assert_eq!(reply.status, 200);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn requests_to_a_proxy_are_understood() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    let host = format!("a.test:{}", origin.port());
    let request = format!("GET http://{host}/p HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(lab.connect(([45, 67, 89, 1], 3128)).ask(&request).status, 200);
    assert!(origin.request().starts_with("GET /p HTTP/1.1\r\n"));
}

#[test]
fn an_http_1_0_client_is_served_and_released() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    let mut client = lab.connect((A_TEST, origin.port()));
    client.send("GET /old HTTP/1.0\r\n\r\n");
    let answer = client.rest().unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("GET /old HTTP/1.1"));
    assert_eq!(lab.judged_urls(), [format!("http://a.test:{}/old", origin.port())]);
}

#[test]
fn dns_over_tcp_goes_to_the_stub() {
    let lab = Lab::start(Setup::default());
    assert_eq!(lab.connect(([9, 9, 9, 9], 53)).rest().unwrap(), "dns");
}

/// Closes the connection instead of answering what comes second.
fn answer_once(request: &str) -> Option<Vec<u8>> {
    if request.contains("/second") { None } else { echo(request) }
}

#[test]
fn only_a_request_that_does_no_more_if_it_comes_twice_is_sent_again() {
    for (method, fields, times) in [
        ("GET", "", 2),
        ("DELETE", "", 2),
        ("PUT", "Content-Length: 0\r\n", 2),
        ("POST", "Content-Length: 0\r\n", 1),
        ("PATCH", "", 1),
        ("SEARCH", "", 1),
    ] {
        let lab = Lab::start(Setup::default());
        let origin = Origin::plain(answer_once);
        let mut client = lab.connect((A_TEST, origin.port()));
        let mut ask = |path: &str| {
            client.ask(&format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"))
        };
        assert_eq!(ask("/first").status, 200);
        assert_eq!(ask("/second").status, 502);
        let seconds = origin.requests().iter().filter(|seen| seen.contains("/second")).count();
        assert_eq!(seconds, times, "{method}");
        assert_eq!(lab.judged().len(), 2, "{method}");
    }
}

#[test]
fn no_request_is_lost_when_origins_close_idle_connections() {
    // The origin closes after each answer, so each request races with the news of that.
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain_once(echo);
    let mut client = lab.connect((A_TEST, origin.port()));
    for number in 0..50 {
        assert_eq!(client.get("a.test", "/").status, 200, "request {number}");
    }
    assert_eq!(lab.judged().len(), 50);
}

#[test]
fn the_rule_sees_no_field_that_the_client_keeps_from_the_origin() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    let host = format!("a.test:{}", origin.port());
    let mut client = lab.connect((A_TEST, origin.port()));
    let fields = "X-Dry-Run: 1\r\nX-Kept: 2\r\nConnection: keep-alive, X-Dry-Run";
    let reply = client.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n\r\n"));
    assert_eq!(reply.status, 200);
    assert_eq!(origin.request(), format!("GET / HTTP/1.1\r\nhost: {host}\r\nx-kept: 2\r\n\r\n"));
    let judged = lab.judged();
    assert_eq!(judged[0].headers.get("x-dry-run"), None);
    assert_eq!(judged[0].headers.get("x-kept").as_deref(), Some("2"));
}

#[test]
fn a_connection_that_was_logged_in_is_used_for_no_other_request() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    let host = format!("a.test:{}", origin.port());
    let mut client = lab.connect((A_TEST, origin.port()));
    let mut ask = |fields: &str| {
        let reply = client.ask(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
        assert_eq!(reply.status, 200);
        origin.connections()
    };
    let connections = [
        "",
        "Authorization: Basic eA==\r\n",
        "Authorization: NTLM eA==\r\n",
        "",
        "authorization: negotiate x\r\n",
        "",
    ]
    .map(&mut ask);
    assert_eq!(connections, [1, 1, 1, 2, 2, 3]);
}

#[test]
fn an_origin_is_told_a_path_that_begins_with_a_slash() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(echo);
    let host = format!("a.test:{}", origin.port());
    let mut client = lab.connect((A_TEST, origin.port()));
    for (target, told) in [("?/../x", "/?/../x"), ("", "/"), ("/?", "/?"), ("?", "/?")] {
        let reply =
            client.ask(&format!("GET http://{host}{target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((reply.status, reply.body), (200, format!("GET {told} HTTP/1.1")), "{target}");
    }
}
