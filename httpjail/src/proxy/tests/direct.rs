//! Clients that were told of the proxy, and come to it by themselves.

use std::{
    net::TcpStream,
    sync::{Condvar, Mutex},
    time::Duration,
};

use super::{
    lab::{Lab, Setup, deny},
    origin::{Origin, echo},
    wire::Hello,
};
use crate::policy::{Decision, Limits, Openings, RequestFacts};

fn rule(facts: &RequestFacts) -> Decision {
    if facts.path == "/EVIL" { deny("no") } else { Decision::Allow(Limits::default()) }
}

fn lab() -> Lab {
    Lab::start(Setup { rule, ..Setup::default() })
}

#[test]
fn requests_with_whole_urls_are_judged_by_these() {
    let (lab, origin) = (lab(), Origin::plain(echo));
    let target = format!("a.test:{}", origin.port());
    let mut client = lab.connect_to_proxy();
    let ask = |path| format!("GET http://{target}{path} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    assert_eq!(client.ask(&ask("/1")).body, "GET /1 HTTP/1.1");
    assert_eq!(client.ask(&ask("/EVIL")).status, 403);
    drop(client);
    let url = format!("http://{target}");
    assert_eq!(lab.records(), [format!("+ GET {url}/1"), format!("- GET {url}/EVIL")]);
}

#[test]
fn a_path_is_asked_for_at_the_host_and_port_of_the_header() {
    let (lab, origin) = (lab(), Origin::plain(echo));
    let target = format!("a.test:{}", origin.port());
    let mut client = lab.connect_to_proxy();
    assert_eq!(client.get(&target, "/1").body, "GET /1 HTTP/1.1");
    // Nobody serves at the usual port; the proxy's own is not asked.
    assert_eq!(client.get("b.test", "/EVIL").status, 403);
    drop(client);
    assert_eq!(
        lab.records(),
        [format!("+ GET http://{target}/1"), "- GET http://b.test/EVIL".to_owned()]
    );
}

#[test]
fn tls_is_for_the_server_that_it_names_and_the_port_of_its_requests() {
    let (origin, root) = Origin::tls(echo, "a.test");
    let lab = Lab::start(Setup { rule, extra_ca: vec![root], ..Setup::default() });
    let target = format!("a.test:{}", origin.port());
    let mut client = lab.connect_to_proxy().tls(&lab.authority, Hello::to("a.test"));
    assert_eq!(client.get(&target, "/1").body, "GET /1 HTTP/1.1");
    assert_eq!(client.get("a.test", "/EVIL").status, 403);
    assert_eq!(client.get("b.test", "/2").status, 421);
    drop(client);
    let expected = [
        format!("+ GET https://{target}/1"),
        "- GET https://a.test/EVIL".to_owned(),
        "- HTTP http://a.test:443".to_owned(),
    ];
    assert_eq!(lab.records(), expected);
}

#[test]
fn tls_that_names_no_server_is_refused() {
    let lab = lab();
    let hello = Hello { send_sni: false, ..Hello::to("a.test") };
    let mut client = lab.connect_to_proxy().tls(&lab.authority, hello);
    let sent = std::io::Write::write_all(&mut client.stream, b"GET / HTTP/1.1\r\n\r\n");
    assert!(sent.is_err() || client.rest().is_err());
    let own = lab.address();
    assert_eq!(lab.records(), [format!("- TLS tls://{own}")]);
}

#[test]
fn requests_for_the_proxy_itself_are_loops() {
    let lab = lab();
    let own = lab.address();
    let by_name = format!("localhost:{}", own.port());
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\nHost: {own}\r\n\r\n"), 508),
        (format!("GET / HTTP/1.1\r\nHost: {by_name}\r\n\r\n"), 508),
        (format!("GET http://{own}/ HTTP/1.1\r\nHost: {own}\r\n\r\n"), 508),
        (format!("CONNECT {own} HTTP/1.1\r\nHost: {own}\r\n\r\n"), 508),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), 508),
        // Only the resolver tells.
        (format!("GET / HTTP/1.1\r\nHost: a.test:{}\r\n\r\n", own.port()), 508),
    ] {
        let reply = lab.connect_to_proxy().ask(&request);
        assert_eq!(reply.status, status, "{request}: {reply:?}");
        assert!(reply.body.contains("oop detected"), "{reply:?}");
    }
    assert_eq!(lab.judged().len(), 1, "one alone was a question for the rule");
    assert_eq!(lab.records().len(), 6, "each has its record");
}

#[test]
fn a_target_that_is_opened_is_never_the_proxy() {
    let openings = Openings { tcp: vec!["*:*".parse().unwrap()], ..Openings::default() };
    let (lab, origin) =
        (Lab::start(Setup { rule, openings, ..Setup::default() }), Origin::plain(echo));
    let target = format!("a.test:{}", origin.port());
    let mut client = lab.connect_to_proxy();
    let ask = format!("GET http://{target}/EVIL HTTP/1.1\r\nHost: {target}\r\n\r\n");
    assert_eq!(client.ask(&ask).status, 403, "this is no connection to the target");
    let mut client = lab.connect_to_proxy();
    assert!(client.open_tunnel(&target).starts_with("HTTP/1.1 200 "));
    assert_eq!(client.get(&target, "/EVIL").status, 200, "this one is");
}

#[test]
fn what_is_no_request_is_refused() {
    let lab = lab();
    let mut client = lab.connect_to_proxy();
    client.send("\x05\x01\x00");
    assert_eq!(client.rest().unwrap_or_default(), "");
    let own = lab.address();
    assert_eq!(lab.records(), [format!("- TCP tcp://{own}")]);
}

#[test]
fn the_end_waits_for_what_is_under_way_and_takes_nothing_new() {
    static IS_HELD: (Mutex<bool>, Condvar) = (Mutex::new(true), Condvar::new());
    let origin = Origin::plain(|request| {
        let held = IS_HELD.0.lock().unwrap();
        drop(IS_HELD.1.wait_while(held, |held| *held).unwrap());
        echo(request)
    });
    let drain = Duration::from_secs(10);
    let mut lab = Lab::start(Setup { rule, drain, ..Setup::default() });
    let target = format!("a.test:{}", origin.port());
    let (mut busy, mut idle) = (lab.connect_to_proxy(), lab.connect_to_proxy());
    assert_eq!(idle.get(&target, "/EVIL").status, 403);
    busy.send(format!("GET /slow HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    lab.await_records(2);
    lab.ask_to_stop();
    assert_eq!(idle.rest().unwrap(), "", "an idle connection ends");
    *IS_HELD.0.lock().unwrap() = false;
    IS_HELD.1.notify_all();
    let reply = busy.reply(false);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(busy.rest().unwrap(), "", "and is the last one");
    let address = lab.address();
    lab.ended().unwrap();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_request_that_had_begun_at_the_end_is_answered_and_silence_is_not_waited_for() {
    let origin = Origin::plain(echo);
    let drain = Duration::from_secs(60);
    let mut lab = Lab::start(Setup { rule, drain, ..Setup::default() });
    let target = format!("a.test:{}", origin.port());
    let (mut begun, mut silent) = (lab.connect_to_proxy(), lab.connect_to_proxy());
    begun.send("GET /1 HTTP/1.1\r\n");
    lab.ask_to_stop();
    begun.send(format!("Host: {target}\r\n\r\n"));
    let reply = begun.reply(false);
    assert_eq!((reply.status, reply.header("connection")), (200, vec!["close"]), "{reply:?}");
    assert_eq!(silent.rest().unwrap_or_default(), "");
    lab.ended().unwrap();
}
