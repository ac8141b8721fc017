//! Clients that take the proxy for a proxy, and ask it for tunnels.

use std::time::Duration;

use super::{
    lab::{A_TEST, Lab, Setup, allow_tcp, deny},
    origin::{Origin, echo},
    wire::{Client, Hello},
};
use crate::{
    policy::{Decision, Limits, RequestFacts},
    proxy::Timeouts,
};

/// Where the client believes its proxy to be.
const PROXY: ([u8; 4], u16) = ([45, 67, 89, 1], 3128);
const EVIL: &str = "GET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n";

fn rule(facts: &RequestFacts) -> Decision {
    if facts.path == "/EVIL" { deny("no") } else { Decision::Allow(Limits::default()) }
}

fn lab() -> Lab {
    Lab::start(Setup { rule, ..Setup::default() })
}

fn tls_lab_and_origin() -> (Lab, Origin) {
    let (origin, root) = Origin::tls(echo, "a.test");
    (Lab::start(Setup { rule, extra_ca: vec![root], ..Setup::default() }), origin)
}

fn assert_opens<S: std::io::Read + std::io::Write>(client: &mut Client<S>, target: &str) {
    let head = client.open_tunnel(target);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let head = head.to_lowercase();
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
}

#[test]
fn requests_in_a_tunnel_are_judged_one_by_one() {
    let (lab, origin) = (lab(), Origin::plain(echo));
    let target = format!("a.test:{}", origin.port());
    let mut client = lab.connect(PROXY);
    assert_opens(&mut client, &target);
    assert_eq!(origin.connections(), 0);
    assert_eq!(client.get("a.test", "/1").body, "GET /1 HTTP/1.1");
    assert_eq!(client.get("a.test", "/EVIL").status, 403);
    assert_eq!(client.get(&target, "/2").status, 200);
    drop(client);
    let url = format!("http://{target}");
    let expected =
        [format!("+ GET {url}/1"), format!("- GET {url}/EVIL"), format!("+ GET {url}/2")];
    assert_eq!(lab.records(), expected);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn what_is_glued_to_a_connect_is_judged_as_well() {
    let (lab, origin) = (lab(), Origin::plain(echo));
    let target = format!("b.test:{}", origin.port());
    let mut client = lab.connect(PROXY);
    client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n{EVIL}"));
    assert!(client.until(b"\r\n\r\n").starts_with("HTTP/1.1 200 "));
    assert_eq!(client.reply(false).status, 403);
    assert_eq!(origin.connections(), 0);
    drop(client);
    assert_eq!(lab.records(), [format!("- GET http://a.test:{}/EVIL", origin.port())]);
}

#[test]
fn tls_in_a_tunnel_is_intercepted() {
    for send_sni in [true, false] {
        let (lab, origin) = tls_lab_and_origin();
        let target = format!("a.test:{}", origin.port());
        let mut client = lab.connect(PROXY);
        assert_opens(&mut client, &target);
        let hello = Hello { send_sni, ..Hello::to("a.test") };
        let mut client = client.tls(&lab.authority, hello);
        assert_eq!(client.get("a.test", "/1").body, "GET /1 HTTP/1.1");
        assert_eq!(client.get("b.test", "/2").status, 421);
        assert_eq!(client.get("a.test", "/EVIL").status, 403);
        drop(client);
        let url = format!("https://{target}");
        let misdirected = format!("- HTTP http://{target}");
        let expected = [format!("+ GET {url}/1"), misdirected, format!("- GET {url}/EVIL")];
        assert_eq!(lab.records(), expected);
        assert_eq!(origin.requests().len(), 1);
    }
}

#[test]
fn a_proxy_spoken_to_by_tls_opens_tunnels_too() {
    let (lab, origin) = tls_lab_and_origin();
    let target = format!("a.test:{}", origin.port());
    let mut client = lab.connect(PROXY).tls(&lab.authority, Hello::to("proxy.test"));
    assert_opens(&mut client, &target);
    let mut client = client.tls(&lab.authority, Hello::to("a.test"));
    assert_eq!(client.get("a.test", "/1").body, "GET /1 HTTP/1.1");
    drop(client);
    assert_eq!(lab.records(), [format!("+ GET https://{target}/1")]);
}

#[test]
fn an_address_that_stands_for_a_name_is_that_name() {
    let (lab, origin) = tls_lab_and_origin();
    let mut client = lab.connect(PROXY);
    assert_opens(&mut client, &format!("{A_TEST}:{}", origin.port()));
    let hello = Hello { send_sni: false, ..Hello::to("a.test") };
    assert_eq!(client.tls(&lab.authority, hello).get("a.test", "/").status, 200);
}

#[test]
fn a_client_of_http_1_0_gets_its_tunnel() {
    let (lab, origin) = (lab(), Origin::plain(echo));
    let mut client = lab.connect(PROXY);
    client.send(format!("CONNECT a.test:{} HTTP/1.0\r\n\r\n", origin.port()));
    assert!(client.until(b"\r\n\r\n").starts_with("HTTP/1.0 200 "));
    assert_eq!(client.get("a.test", "/1").status, 200);
    drop(client);
    assert_eq!(lab.records(), [format!("+ GET http://a.test:{}/1", origin.port())]);
}

#[test]
fn a_tunnel_behind_other_requests_is_one_like_the_first() {
    let (lab, origin) = (lab(), Origin::plain(echo));
    let host = format!("a.test:{}", origin.port());
    let mut client = lab.connect(PROXY);
    let absolute = format!("GET http://{host}/1 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(client.ask(&absolute).status, 200);
    assert_opens(&mut client, &host);
    assert_eq!(client.get("a.test", "/2").status, 200);
}

#[test]
fn a_tunnel_for_anything_but_http_has_one_record_and_leads_nowhere() {
    let timeouts = Timeouts { first_bytes: Duration::from_millis(100), ..Timeouts::default() };
    // Another protocol, one that is begun, silence, and an end at once.
    for (inside, ends) in
        [("SSH-2.0-OpenSSH\r\n", false), ("GET /", false), ("", false), ("", true)]
    {
        let lab = Lab::start(Setup { rule, timeouts, ..Setup::default() });
        let origin = Origin::plain(echo);
        let target = format!("a.test:{}", origin.port());
        let mut client = lab.connect(PROXY);
        assert_opens(&mut client, &target);
        client.send(inside);
        if ends {
            client.half_close();
        }
        assert_eq!(client.rest().unwrap_or_default(), "", "{inside:?}");
        assert_eq!(lab.records(), [format!("- TCP tcp://{target}")], "{inside:?}");
        assert_eq!(origin.connections(), 0);
    }
}

#[test]
fn who_asks_for_a_tunnel_and_leaves_has_one_record() {
    let lab = lab();
    let mut client = lab.connect(PROXY);
    client.send("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n").half_close();
    client.rest().unwrap_or_default();
    assert_eq!(lab.records(), ["- TCP tcp://a.test:443"]);
}

/// Whatever a rule says of TCP; a connection to that port without a tunnel is the stub's.
#[test]
fn there_is_no_tunnel_to_name_servers() {
    let lab = Lab::start(Setup { rule: |_| allow_tcp(), knows_tcp: true, ..Setup::default() });
    let mut client = lab.connect(PROXY);
    let head = client.open_tunnel("a.test:53");
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(lab.connect(([45, 67, 89, 1], 53)).rest().unwrap(), "dns");
    drop(client);
    assert!(lab.judged().is_empty());
    assert_eq!(lab.records(), ["- HTTP http://45.67.89.1:3128"]);
}

#[test]
fn there_is_no_tunnel_in_a_tunnel() {
    let (lab, origin) = tls_lab_and_origin();
    let target = format!("a.test:{}", origin.port());
    let mut client = lab.connect(PROXY);
    assert_opens(&mut client, &target);
    assert!(client.open_tunnel(&target).starts_with("HTTP/1.1 501 "));
    let mut client = lab.connect(PROXY);
    assert_opens(&mut client, &target);
    let mut client = client.tls(&lab.authority, Hello::to("a.test"));
    assert!(client.open_tunnel(&target).starts_with("HTTP/1.1 501 "));
    drop(client);
    let refused = format!("- HTTP http://{target}");
    assert_eq!(lab.records(), [refused.clone(), refused]);
    assert_eq!(origin.connections(), 0);
}
