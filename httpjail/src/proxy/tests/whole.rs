//! The rest of HTTP/1: what real clients and servers do, and seldom.

use std::net::TcpListener;

use super::{
    lab::{A_TEST, Lab, Setup},
    origin::{Origin, Script, echo},
    wire::{Client, Reply},
};

fn ask(script: Script, request: &str) -> Reply {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(script));
    lab.connect((A_TEST, origin.port())).ask(request)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn many_and_long_headers_pass_both_ways() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(|request| {
        let (_, fields) = request.split_once("\r\nx-first: ").unwrap();
        Some(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-first: {fields}").into_bytes())
    });
    let many: String = (0..300).map(|number| format!("x-{number}: {number}\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(200 * 1024));
    for fields in [many, long] {
        let mut client = lab.connect((A_TEST, origin.port()));
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-First: 1\r\n{fields}\r\n");
        let reply = client.ask(&request);
        assert_eq!(reply.status, 200);
        assert!(reply.head.contains(&fields), "{:.200}", reply.head);
    }
}

#[test]
fn cookies_keep_their_number_and_order() {
    let reply = ask(
        |_| {
            let cookies: String =
                (0..20).map(|number| format!("Set-Cookie: c={number}; Path=/\r\n")).collect();
            Some(format!("HTTP/1.1 200 OK\r\n{cookies}Content-Length: 0\r\n\r\n").into_bytes())
        },
        GET,
    );
    let expected: Vec<_> = (0..20).map(|number| format!("c={number}; Path=/")).collect();
    assert_eq!(reply.header("set-cookie"), expected);
}

#[test]
fn trailers_come_back_to_who_wants_them() {
    let script: Script = |_| {
        Some(
            "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n"
                .into(),
        )
    };
    for (fields, end) in
        [("TE: trailers\r\nConnection: TE\r\n", "0\r\nx-sum: 7\r\n\r\n"), ("", "0\r\n\r\n")]
    {
        let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(script));
        let mut client = lab.connect((A_TEST, origin.port()));
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
        let head = client.until(b"\r\n\r\n").to_lowercase();
        assert!(head.contains("\r\ntrailer: x-sum\r\n"), "{head}");
        assert_eq!(client.until(b"hi\r\n"), "2\r\nhi\r\n");
        assert_eq!(client.until(end.as_bytes()), end);
    }
}

#[test]
fn an_answer_that_may_have_no_body_has_none_whatever_its_headers_say() {
    for (method, head) in [
        ("GET", "204 No Content\r\nContent-Length: 5"),
        ("GET", "204 No Content\r\nTransfer-Encoding: chunked"),
        ("GET", "204 No Content\r\nContent-Type: text/plain"),
        ("GET", "304 Not Modified\r\nContent-Length: 5\r\nETag: e"),
        ("GET", "304 Not Modified\r\nTransfer-Encoding: chunked"),
        ("HEAD", "200 OK\r\nContent-Length: 5"),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked"),
        ("HEAD", "404 Not Found"),
    ] {
        let lab = Lab::start(Setup::default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = lab.connect((A_TEST, listener.local_addr().unwrap().port()));
        client.send(format!("{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let mut origin = Client::new(listener.accept().unwrap().0);
        for _ in 0..2 {
            origin.until(b"\r\n\r\n");
            origin.send(format!("HTTP/1.1 {head}\r\n\r\n"));
            let reply = client.reply(method == "HEAD");
            assert!(reply.head.starts_with(&format!("HTTP/1.1 {}", &head[..3])), "{}", reply.head);
            assert!(reply.status != 204 || reply.header("content-length").is_empty(), "{reply:?}");
            assert!(reply.header("transfer-encoding").is_empty(), "{reply:?}");
            // Both connections are good for another.
            client.send(format!("{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        }
    }
}

#[test]
fn answers_without_a_length_last_until_the_origin_closes() {
    for version in ["1.0", "1.1"] {
        let (lab, origin) = (
            Lab::start(Setup::default()),
            Origin::plain_once(match version {
                "1.0" => |_| Some("HTTP/1.0 200 OK\r\n\r\nabc".into()),
                _ => |_| Some("HTTP/1.1 200 OK\r\n\r\nabc".into()),
            }),
        );
        let mut client = lab.connect((A_TEST, origin.port()));
        assert_eq!(client.get("a.test", "/1").body, "3\r\nabc\r\n0\r\n\r\n");
        // The client's connection has lost nothing by it.
        assert_eq!(client.get("a.test", "/2").body, "3\r\nabc\r\n0\r\n\r\n");
        client.send("GET / HTTP/1.0\r\n\r\n");
        assert!(client.rest().unwrap().ends_with("\r\n\r\nabc"));
    }
}

#[test]
fn http_1_0_keeps_a_connection_that_it_asks_for() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    let mut client = lab.connect((A_TEST, origin.port()));
    let old = |path: &str| format!("GET {path} HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    for path in ["/1", "/2"] {
        let reply = client.ask(&old(path));
        assert_eq!(reply.header("connection"), ["keep-alive"]);
        assert_eq!(reply.body, format!("GET {path} HTTP/1.1"));
    }
    let head = client.ask("HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(head.header("connection"), ["keep-alive"]);
    client.send("GET /3 HTTP/1.0\r\n\r\n");
    assert!(client.rest().unwrap().ends_with("GET /3 HTTP/1.1"));
    // What has no length ends with the connection.
    let unsized_ = Origin::plain_once(|_| Some("HTTP/1.1 200 OK\r\n\r\nabc".into()));
    let mut client = lab.connect((A_TEST, unsized_.port()));
    let answer = client.send(old("/")).rest().unwrap();
    assert!(answer.ends_with("\r\n\r\nabc") && !answer.contains("keep-alive"), "{answer}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    let mut client = lab.connect((A_TEST, origin.port()));
    let requests: String = (0..60)
        .map(|number| match number % 3 {
            0 => format!("GET /{number} HTTP/1.1\r\nHost: a.test\r\n\r\n"),
            1 => {
                format!("POST /{number} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello")
            }
            _ => format!(
                "PUT /{number} HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n0\r\n\r\n"
            ),
        })
        .collect();
    client.send(requests);
    for number in 0..60 {
        let body = client.reply(false).body;
        assert!(body.contains(&format!(" /{number} ")), "{number}: {body}");
    }
    assert_eq!(lab.judged().len(), 60);
}

#[test]
fn names_of_headers_reach_the_origin_in_lower_case() {
    let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
    let request = "GET / HTTP/1.1\r\nHOST: a.test\r\nX-CamelCase: Value\r\n\r\n";
    assert_eq!(lab.connect((A_TEST, origin.port())).ask(request).status, 200);
    assert!(origin.request().contains("\r\nx-camelcase: Value\r\n"), "{}", origin.request());
}
