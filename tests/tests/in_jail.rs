//! Programs of one jail can talk to each other over the loopback, and to nobody else on it.

use std::net::SocketAddr;

use httpjail_tests::Lab;
use httpjail_tests::addresses::{CLIENT_V4, CLIENT_V6};

const QUESTION: &str = "in the jail?\n";

fn assert_pair(act: &[&str]) {
    let lab = Lab::new();
    let twin = lab.outside().probe(act).exits(0).report();
    assert_eq!(twin["seen"]["reply"], QUESTION, "{twin}");
    let jailed = lab.jail().probe(act).exits(0);
    assert_eq!(jailed.report()["seen"]["reply"], QUESTION, "{jailed:?}");
    assert_eq!(jailed.report()["seen"]["peer"], twin_address(&jailed.report()), "{jailed:?}");
    assert!(jailed.log.is_empty(), "no request, no record: {jailed:?}");
    assert_eq!(lab.frames().len(), 0, "loopback traffic is not on the wire");
    lab.assert_clean();
}

/// The peer is shown as an address, whatever its port: nothing was rewritten to the proxy's.
fn twin_address(report: &serde_json::Value) -> serde_json::Value {
    let peer = report["seen"]["peer"].as_str().unwrap_or_default();
    assert!(peer.parse::<SocketAddr>().is_ok(), "{report}");
    peer.into()
}

#[test]
fn passes_tcp_over_the_loopback() {
    assert_pair(&["pair", "127.0.0.1:0"]);
    assert_pair(&["pair", "[::1]:0"]);
}

#[test]
fn passes_tcp_to_a_wildcard_listener() {
    assert_pair(&["pair", "0.0.0.0:0", "--to", "127.0.0.1"]);
    assert_pair(&["pair", "[::]:0", "--to", "::1"]);
    assert_pair(&["pair", "[::]:0", "--to", "127.0.0.1"]);
}

#[test]
fn passes_tcp_over_the_machines_own_address() {
    let (v4, v6) = (CLIENT_V4.to_string(), CLIENT_V6.to_string());
    assert_pair(&["pair", &format!("{v4}:0")]);
    assert_pair(&["pair", &format!("[{v6}]:0")]);
    assert_pair(&["pair", "0.0.0.0:0", "--to", &v4]);
    assert_pair(&["pair", "[::]:0", "--to", &v6]);
}

#[test]
fn passes_udp_over_the_loopback() {
    assert_pair(&["pair-udp", "127.0.0.1:0"]);
    assert_pair(&["pair-udp", "[::1]:0"]);
    assert_pair(&["pair-udp", "0.0.0.0:0", "--to", "127.0.0.1"]);
}

#[test]
fn serves_a_development_server_to_its_client() {
    let lab = Lab::new();
    let script = "mkfifo ready
        python3 -c 'import http.server as h
s = h.HTTPServer((\"127.0.0.1\", 0), h.SimpleHTTPRequestHandler)
print(s.server_port, flush=True)
s.handle_request()' > ready &
        read port < ready
        curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:$port/
        kill $! 2> /dev/null; wait; rm ready";
    assert_eq!(lab.outside().sh(script).exits(0).stdout, "200");
    let jailed = lab.jail().sh(script).exits(0);
    assert_eq!(jailed.stdout, "200", "{jailed:?}");
    assert!(jailed.log.is_empty(), "{jailed:?}");
    lab.assert_clean();
}

#[test]
fn keeps_the_machines_own_servers_out_of_reach() {
    let lab = Lab::new();
    for own in ["127.0.0.1:7002", "[::1]:7002", "45.67.89.1:7002", "0.0.0.0:7002"] {
        let server = lab.outside().start_probe(["listen", own]);
        server.line("listening");
        let act = ["tcp", own, "--mark", "hello\n"];
        let twin = lab.outside().probe(act).exits(0);
        assert!(twin.stdout.contains("hello from the listener"), "{twin:?}");
        let jailed = lab.jail().js("true").probe(act).exits(0);
        assert!(!jailed.stdout.contains("hello from the listener"), "{jailed:?}");
        let seen = server.finish().exits(0).report();
        assert_eq!(seen["seen"]["accepted"], 1, "{own}: the twin's alone");
    }
    lab.assert_clean();
}

#[test]
fn keeps_two_jails_apart() {
    let lab = Lab::new();
    let server = lab.jail().start_probe(["listen", "127.0.0.1:7001"]);
    server.line("listening");
    let act = ["tcp", "127.0.0.1:7001", "--mark", "hello\n"];
    let other = lab.jail().js("true").probe(act).exits(0);
    assert!(!other.stdout.contains("hello from the listener"), "{other:?}");
    assert_eq!(server.finish().exits(0).report()["seen"]["accepted"], 0);
    lab.assert_clean();
}
