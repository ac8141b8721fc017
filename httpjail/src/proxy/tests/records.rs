//! The full records: what each way that an exchange can go leaves behind.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    http2_origin::Origin2,
    lab::{A_TEST, Lab, Setup, allow_bytes, allow_tcp, deny},
    origin::{Origin, echo},
    wire::Hello,
};
use crate::{policy::Openings, proxy::Timeouts, upstream::PrivateAccess};

const PROXY: ([u8; 4], u16) = ([45, 67, 89, 1], 3128);

/// The only record of the lab's.
fn only(lab: Lab) -> Value {
    let mut records = lab.full_records();
    assert_eq!(records.len(), 1, "{records:#?}");
    records.remove(0)
}

fn fault(record: &Value) -> (&str, &str) {
    let text = |name: &str| record["error"][name].as_str().unwrap();
    (text("fault"), text("message"))
}

fn bytes(record: &Value) -> (u64, u64) {
    (record["bytes_sent"].as_u64().unwrap(), record["bytes_received"].as_u64().unwrap())
}

#[test]
fn an_allowed_request_is_told_whole() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    let mut client = lab.connect((A_TEST, origin.port()));
    let reply = client.get("a.test", "/x?q=1");
    assert_eq!(reply.status, 200);
    client.ask("POST /y HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello");
    let records = lab.full_records();
    let [first, second] = &records[..] else { panic!("{records:#?}") };
    for (member, expected) in [
        ("kind", json!("request")),
        ("jail", json!("lab")),
        ("process", json!({"pid": 7, "uid": 1000, "comm": "probe", "exe": "/bin/of-7"})),
        ("method", json!("GET")),
        ("url", json!(format!("http://a.test:{}/x?q=1", origin.port()))),
        ("scheme", json!("http")),
        ("host", json!("a.test")),
        ("port", json!(origin.port())),
        ("path", json!("/x")),
        ("query", json!("q=1")),
        ("decision", json!("allow")),
        ("rule", json!({"engine": "rule", "reason": "rule"})),
        ("protocol", json!("http/1.1")),
        ("status", json!(200)),
        ("error", json!(null)),
    ] {
        assert_eq!(first[member], expected, "{member}");
    }
    assert_eq!(bytes(first), (0, reply.body.len() as u64));
    let time = |name: &str| first[name].as_u64().unwrap();
    assert!(time("rule_us") + time("connect_us") <= time("first_byte_us"), "{first:#}");
    assert!(time("first_byte_us") <= time("total_us"), "{first:#}");
    assert_eq!(second["connect_us"], json!(null), "the connection was kept");
    assert_eq!(second["query"], json!(null));
    assert_eq!(bytes(second), (5, "POST /y HTTP/1.1".len() as u64));
}

#[test]
fn a_denied_request_says_who_denied_it_and_why() {
    let lab = Lab::start(Setup { rule: |_| deny("not you"), ..Setup::default() });
    let request = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello";
    let reply = lab.connect((A_TEST, 80)).ask(request);
    let record = only(lab);
    assert_eq!((&record["decision"], &record["status"]), (&json!("deny"), &json!(403)));
    let rule = json!({"engine": "rule", "reason": "rule", "message": "not you"});
    assert_eq!((&record["rule"], &record["error"]), (&rule, &json!(null)));
    assert_eq!(bytes(&record), (0, reply.body.len() as u64));
}

#[test]
fn answers_without_a_body_are_whole() {
    let (lab, origin) = (
        Lab::start(Setup::default()),
        Origin::plain(|request| {
            let is_head = request.starts_with("HEAD");
            let answer = if is_head { "200 OK\r\nContent-Length: 9" } else { "204 No Content" };
            Some(format!("HTTP/1.1 {answer}\r\n\r\n").into())
        }),
    );
    let mut client = lab.connect((A_TEST, origin.port()));
    assert_eq!(client.ask("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n").status, 200);
    assert_eq!(client.ask("DELETE / HTTP/1.1\r\nHost: a.test\r\n\r\n").status, 204);
    for record in lab.full_records() {
        assert_eq!((&record["error"], bytes(&record)), (&json!(null), (0, 0)), "{record:#}");
    }
}

/// The end of the stream says nothing that the client doesn't know.
#[test]
fn an_answer_is_whole_when_all_its_bytes_have_come() {
    let (origin, root) = Origin2::tls(&["h2"]);
    let lab = Lab::start(Setup { extra_ca: vec![root], ..Setup::default() });
    let mut client = lab.connect((A_TEST, origin.port())).tls(&lab.authority, Hello::to("a.test"));
    assert_eq!(client.get("a.test", "/sized").body, "full");
    drop(client);
    let record = only(lab);
    assert_eq!((&record["error"], bytes(&record)), (&json!(null), (0, 4)), "{record:#}");
}

#[test]
fn a_failure_upstream_is_told_as_such() {
    let lab = Lab::start(Setup::default());
    // Bound and not listening: nobody else can take the port meanwhile.
    let closed = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    closed.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let port = closed.local_addr().unwrap().as_socket().unwrap().port();
    assert_eq!(lab.connect((A_TEST, port)).get("a.test", "/").status, 502);
    let record = only(lab);
    assert_eq!((&record["decision"], &record["status"]), (&json!("allow"), &json!(502)));
    let (at_fault, message) = fault(&record);
    assert_eq!(at_fault, "upstream");
    assert!(message.starts_with("failed to connect to 127.0.0.1:"), "{message}");
    assert_eq!(record["first_byte_us"], json!(null));
}

#[test]
fn what_httpjail_itself_refuses_is_told_as_such() {
    let lab = Lab::start(Setup { private: PrivateAccess::None, ..Setup::default() });
    assert_eq!(lab.connect((A_TEST, 80)).get("a.test", "/").status, 502);
    let record = only(lab);
    let (at_fault, message) = fault(&record);
    assert_eq!(at_fault, "httpjail");
    assert!(message.contains("--allow-private"), "{message}");
}

#[test]
fn a_request_that_contradicts_itself_is_malformed() {
    let lab = Lab::start(Setup::default());
    let request = "GET /x HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n";
    assert_eq!(lab.connect((A_TEST, 80)).ask(request).status, 400);
    assert_eq!(lab.connect((A_TEST, 80)).ask("GET / HTTP/1.1\r\nHost : a\r\n\r\n").status, 400);
    let mut records = lab.full_records();
    records.sort_by_key(|record| record["method"].is_null());
    for (record, method, status) in
        [(&records[0], json!("GET"), json!(400)), (&records[1], json!(null), json!(null))]
    {
        assert_eq!((&record["method"], &record["status"]), (&method, &status));
        assert_eq!((&record["host"], &record["port"]), (&json!("a.test"), &json!(80)));
        assert_eq!(record["rule"], json!({"engine": "httpjail", "reason": "malformed"}));
        assert_eq!(fault(record).0, "jailed");
    }
}

/// Promises more than it gives.
fn short(request: &str) -> Option<Vec<u8>> {
    assert!(request.starts_with("GET "));
    Some(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789".into())
}

#[test]
fn an_answer_that_breaks_off_is_the_origins_fault() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain_once(short));
    let mut client = lab.connect((A_TEST, origin.port()));
    // The end may overtake what came before it.
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").rest().unwrap_or_default();
    let record = only(lab);
    assert_eq!((fault(&record).0, &record["status"]), ("upstream", &json!(200)));
    assert!(bytes(&record).1 <= 10, "{record:#}");
}

#[test]
fn who_leaves_amid_an_answer_is_recorded_with_what_had_come() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(short));
    let mut client = lab.connect((A_TEST, origin.port()));
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").until(b"0123456789");
    drop(client);
    let record = only(lab);
    assert_eq!((fault(&record).0, bytes(&record)), ("jailed", (0, 10)));
}

#[test]
fn a_request_under_way_at_the_end_of_the_run_has_its_record() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(short));
    let mut client = lab.connect((A_TEST, origin.port()));
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").until(b"0123456789");
    assert_eq!(bytes(&only(lab)), (0, 10));
}

#[test]
fn a_body_that_breaks_off_is_the_programs_fault() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    let mut client = lab.connect((A_TEST, origin.port()));
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nhello").half_close();
    client.rest().unwrap_or_default();
    let record = only(lab);
    assert_eq!((fault(&record).0, bytes(&record).0), ("jailed", 5), "{record:#}");
}

#[test]
fn a_body_that_is_cut_says_so() {
    let (lab, origin) =
        (Lab::start(Setup { rule: |_| allow_bytes(150), ..Setup::default() }), Origin::plain(echo));
    let request = format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nc8\r\n{}\r\n0\r\n\r\n",
        "x".repeat(200)
    );
    lab.connect((A_TEST, origin.port())).ask(&request);
    let record = only(lab);
    let (at_fault, message) = fault(&record);
    assert_eq!(at_fault, "jailed");
    assert!(message.contains("more bytes than the rule allows"), "{message}");
    assert!((1..150).contains(&bytes(&record).0), "{record:#}");
}

#[test]
fn a_websocket_is_one_record_with_its_bytes() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(super::websocket::chat));
    let mut client = lab.connect((A_TEST, origin.port()));
    super::websocket::assert_chats(&mut client);
    let record = only(lab);
    assert_eq!((&record["protocol"], &record["status"]), (&json!("websocket"), &json!(101)));
    let said = "one\r\n\r\ntwo\r\n\r\n".len() as u64;
    assert_eq!(bytes(&record), (said, said + 2 * "heard ".len() as u64));
}

#[test]
fn a_connection_that_is_carried_unread_has_its_bytes() {
    let target = super::opaque::greeter("220 ready\r\n");
    let by_option = |port| {
        let target = format!("a.test:{port}").parse().unwrap();
        let openings = Openings { tcp: vec![target], ..Openings::default() };
        Setup { openings, rule: |_| deny("no"), ..Setup::default() }
    };
    let by_rule = Setup { rule: |_| allow_tcp(), knows_tcp: true, ..Setup::default() };
    let pattern = format!("a.test:{}", target.port());
    let option = json!({
        "engine": "option", "option": "--allow-tcp", "pattern": pattern, "reason": "rule"
    });
    let rule = json!({"engine": "rule", "reason": "rule"});
    for (setup, decided) in [(by_option(target.port()), option), (by_rule, rule)] {
        let lab = Lab::start(setup);
        let mut client = lab.connect((A_TEST, target.port()));
        client.until(b"\n");
        client.send("quit").half_close();
        assert_eq!(client.rest().unwrap(), "QUIT");
        let record = only(lab);
        assert_eq!((&record["kind"], &record["decision"]), (&json!("tcp"), &json!("allow")));
        assert_eq!(record["rule"], decided);
        assert_eq!((bytes(&record), &record["error"]), ((4, 15), &json!(null)));
        assert!(record["first_byte_us"].is_u64() && record["connect_us"].is_u64());
    }
}

#[test]
fn a_tunnel_whose_tls_brings_no_request_has_a_record_and_a_line() {
    let lab = Lab::start(Setup::default());
    let mut client = lab.connect(PROXY);
    client.open_tunnel("a.test:443");
    let mut client = client.tls(&lab.authority, Hello::to("a.test"));
    client.stream.conn.complete_io(&mut client.stream.sock).unwrap();
    client.stream.conn.send_close_notify();
    client.stream.conn.complete_io(&mut client.stream.sock).unwrap();
    drop(client);
    lab.await_records(1);
    assert_eq!(lab.log().split_once(' ').unwrap().1, "- TLS tls://a.test:443\n");
    let record = only(lab);
    assert_eq!((&record["kind"], &record["scheme"]), (&json!("tcp"), &json!("tls")));
    assert_eq!(record["rule"], json!({"engine": "httpjail", "reason": "no-request"}));
}

#[test]
fn a_program_that_does_not_trust_the_authority_is_told_as_such() {
    // Another run's, and any other.
    let another_run = Lab::start(Setup::default());
    for root in [another_run.authority.clone(), Origin::tls(echo, "b.test").1] {
        let lab = Lab::start(Setup::default());
        let mut client = lab.connect((A_TEST, 443)).tls(&root, Hello::to("a.test"));
        client.stream.conn.complete_io(&mut client.stream.sock).unwrap_err();
        drop(client);
        lab.await_records(1);
        let record = only(lab);
        assert_eq!(record["rule"]["reason"], json!("tls-handshake"));
        assert_eq!(record["host"], json!("a.test"));
        let (at_fault, message) = fault(&record);
        assert_eq!(at_fault, "jailed");
        assert!(message.contains("doesn't trust"), "{message}");
        assert!(message.contains("--passthrough"), "{message}");
    }
}

#[test]
fn a_program_that_leaves_amid_the_handshake_has_a_hint() {
    let lab = Lab::start(Setup::default());
    let hello = super::tls::first_flight(&lab);
    let mut client = lab.connect((A_TEST, 443));
    client.send(&hello);
    super::tls::handshake_record(&mut client);
    drop(client);
    let record = only(lab);
    assert_eq!(fault(&record).0, "jailed");
    assert!(fault(&record).1.contains("most do so when they don't trust"), "{record:#}");
}

#[test]
fn idle_tls_without_a_request_has_a_record_and_no_line() {
    let timeouts = Timeouts { head: Duration::from_millis(40), ..Timeouts::default() };
    let lab = Lab::start(Setup { timeouts, ..Setup::default() });
    let mut client = lab.connect((A_TEST, 443)).tls(&lab.authority, Hello::to("a.test"));
    client.stream.conn.complete_io(&mut client.stream.sock).unwrap();
    client.rest().unwrap_or_default();
    assert_eq!(lab.log(), "");
    assert_eq!(only(lab)["rule"]["reason"], json!("no-request"));
}
