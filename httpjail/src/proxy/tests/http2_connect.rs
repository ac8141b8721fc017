//! CONNECT over HTTP/2: for a WebSocket (RFC 8441), and for a tunnel (RFC 9113, 8.5).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use h2::ext::Protocol;
use http::{Request, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::{
    http2_frames::{END_HEADERS, HEADERS, RST_STREAM, block, exchange, frame},
    http2_origin::{Client2, Manner, Origin2, on_a_runtime},
    lab::{A_TEST, Lab, Setup, allow_bytes, deny},
    origin::{Origin, echo},
    unfinished::assert_records,
    wire::Hello,
};
use crate::policy::{Decision, Limits, RequestFacts};

const TAKES: Manner = Manner { streams: 100, takes_protocols: true };

fn websocket(url: &str) -> Request<()> {
    asking(url, "websocket", &[("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")])
}

fn asking(url: &str, protocol: &'static str, headers: &[(&str, &str)]) -> Request<()> {
    let request = Request::connect(url).version(Version::HTTP_2);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.extension(Protocol::from_static(protocol)).body(()).unwrap()
}

fn tunnel(target: &str) -> Request<()> {
    Request::connect(target).version(Version::HTTP_2).body(()).unwrap()
}

fn trusting(root: rustls_pki_types::CertificateDer<'static>) -> Lab {
    Lab::start(Setup { extra_ca: vec![root], ..Setup::default() })
}

/// Agrees, and then answers whatever ends in an empty line.
fn chat(request: &str) -> Option<Vec<u8>> {
    let Some(key) = request.split("\r\nsec-websocket-key: ").nth(1) else {
        return Some(format!("heard {request}").into_bytes());
    };
    let key = key.lines().next().unwrap();
    let hash = digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    );
    let accept = BASE64.encode(hash);
    let agreed = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    );
    Some(agreed.into_bytes())
}

#[test]
fn a_websocket_reaches_an_origin_of_http1() {
    let (origin, root) = Origin::tls(chat, "a.test");
    let (lab, port) = (trusting(root), origin.port());
    on_a_runtime(async {
        let mut client = Client2::tls(&lab, port).await;
        let url = format!("https://a.test:{port}/chat?room=1");
        let (head, mut stream) = client.connect(websocket(&url)).await.unwrap();
        assert_eq!(head.status(), 200);
        assert!(client.sender.is_extended_connect_protocol_enabled());
        assert_eq!(head.headers()["sec-websocket-protocol"], "chat");
        for name in ["sec-websocket-accept", "connection", "upgrade"] {
            assert!(!head.headers().contains_key(name), "{head:?}");
        }
        for words in ["one\r\n\r\n", "two\r\n\r\n"] {
            stream.write_all(words.as_bytes()).await.unwrap();
            let mut heard = vec![0; "heard ".len() + words.len()];
            stream.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, format!("heard {words}").as_bytes());
        }
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    });
    let asked = origin.requests().remove(0);
    assert!(asked.starts_with("GET /chat?room=1 HTTP/1.1\r\n"), "{asked}");
    for field in ["upgrade: websocket", "connection: Upgrade", "sec-websocket-protocol: chat"] {
        assert!(asked.contains(&format!("\r\n{field}\r\n")), "{asked}");
    }
    assert_eq!(lab.judged()[0].method, "GET");
    assert_records(lab, port, &["+ GET https://a.test:PORT/chat?room=1"]);
}

#[test]
fn a_websocket_reaches_an_origin_of_http2() {
    let (origin, root) = Origin2::tls_with(TAKES, &["h2", "http/1.1"]);
    let (lab, port) = (trusting(root), origin.port());
    on_a_runtime(async {
        let mut client = Client2::tls(&lab, port).await;
        let url = format!("https://a.test:{port}/chat");
        for _ in 0..2 {
            let (head, mut stream) = client.connect(websocket(&url)).await.unwrap();
            assert_eq!(head.status(), 200);
            assert_eq!(head.headers()["sec-websocket-protocol"], "chat");
            stream.write_all(b"hello").await.unwrap();
            let mut heard = [0; 11];
            stream.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"heard hello");
            stream.shutdown().await.unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"bye", "each side ends by itself");
        }
    });
    assert_eq!(origin.connections(), 1);
    let asked = origin.requests().remove(0);
    assert_eq!((asked.method().as_str(), asked.uri().path()), ("CONNECT", "/chat"));
    assert_eq!(asked.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
    assert_eq!(asked.headers()["sec-websocket-version"], "13");
    for name in ["sec-websocket-key", "connection", "upgrade"] {
        assert!(!asked.headers().contains_key(name), "{asked:?}");
    }
    assert_records(lab, port, &["+ GET https://a.test:PORT/chat"; 2]);
}

/// Each finds out what the origin takes, and none is sent another way meanwhile.
#[test]
fn many_websockets_at_once_share_a_connection_and_pass_floods() {
    const LENGTH: usize = 3_000_000;
    let (origin, root) = Origin2::tls_with(TAKES, &["h2"]);
    let (lab, port) = (trusting(root), origin.port());
    on_a_runtime(async {
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(Client2::tls(&lab, port).await);
        }
        let url = format!("https://a.test:{port}/flood");
        let floods = clients.iter_mut().map(async |client| {
            let (head, stream) = client.connect(websocket(&url)).await.unwrap();
            assert_eq!(head.status(), 200);
            let (mut reads, mut writes) = tokio::io::split(stream);
            let write = async {
                writes.write_all(&vec![b'x'; LENGTH]).await.unwrap();
                writes.shutdown().await.unwrap();
            };
            let mut heard = Vec::new();
            let (_, read) = tokio::join!(write, reads.read_to_end(&mut heard));
            assert_eq!(read.unwrap(), LENGTH);
        });
        let mut tasks: Vec<_> = floods.map(Box::pin).collect();
        let (one, rest) = tasks.split_at_mut(2);
        let (two, four) = (one.split_at_mut(1), rest.split_at_mut(1));
        tokio::join!(&mut two.0[0], &mut two.1[0], &mut four.0[0], &mut four.1[0]);
    });
    assert!(origin.connections() <= 2, "one for each worker");
    assert_records(lab, port, &["+ GET https://a.test:PORT/flood"; 4]);
}

/// By prior knowledge to the client; the origin has no such.
#[test]
fn a_websocket_without_tls_reaches_either_kind_of_origin() {
    let (old, new) = (Origin::plain(chat), Origin2::plain(TAKES));
    for port in [old.port(), new.port()] {
        let lab = Lab::start(Setup::default());
        on_a_runtime(async {
            let mut client = Client2::plain(&lab, port).await;
            let url = format!("http://a.test:{port}/chat");
            let (head, mut stream) = client.connect(websocket(&url)).await.unwrap();
            assert_eq!(head.status(), 200);
            stream.write_all(b"hello\r\n\r\n").await.unwrap();
            let mut heard = [0; 15];
            stream.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"heard hello\r\n\r\n");
        });
        assert_records(lab, port, &["+ GET http://a.test:PORT/chat"]);
    }
}

#[test]
fn a_websocket_of_a_client_of_http1_reaches_an_origin_that_speaks_http2_alone() {
    let (origin, root) = Origin2::tls_with(TAKES, &["h2"]);
    let (lab, port) = (trusting(root), origin.port());
    let mut client = lab.connect((A_TEST, port)).tls(&lab.authority, Hello::to("a.test"));
    client.send(
        "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    );
    let head = client.until(b"\r\n\r\n").to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for field in [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "sec-websocket-protocol: chat",
    ] {
        assert!(head.contains(&format!("\r\n{field}\r\n")), "{head}");
    }
    assert_eq!(client.send("hello.").until(b"."), "heard hello.");
    assert_records(lab, port, &["+ GET https://a.test:PORT/chat"]);
}

#[test]
fn an_origin_that_declines_a_websocket_is_heard() {
    let (origin, root) = Origin2::tls_with(TAKES, &["h2"]);
    let (lab, port) = (trusting(root), origin.port());
    on_a_runtime(async {
        let mut client = Client2::tls(&lab, port).await;
        let (head, mut stream) =
            client.connect(websocket(&format!("https://a.test:{port}/http1"))).await.unwrap();
        // It wants HTTP/1, and doesn't speak it.
        assert_eq!(head.status(), 502);
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.contains("establish TLS with a.test"), "{text}");
        assert_eq!(
            client.ask(Request::get(format!("https://a.test:{port}/"))).await.unwrap().status,
            200
        );
    });
    let (origin, root) = Origin::tls(echo, "a.test");
    let (lab, port) = (trusting(root), origin.port());
    on_a_runtime(async {
        let mut client = Client2::tls(&lab, port).await;
        let (head, mut stream) =
            client.connect(websocket(&format!("https://a.test:{port}/x"))).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        // An answer that agrees to nothing, though it looks as one that does by HTTP/2.
        assert_eq!(
            (head.status().as_u16(), &*text),
            (502, "httpjail failed to get an answer from a.test: it has declined the WebSocket\n")
        );
    });
}

#[test]
fn a_websocket_by_connect_that_is_denied_is_never_asked_for() {
    let (origin, root) = Origin2::tls_with(TAKES, &["h2"]);
    let lab = Lab::start(Setup { extra_ca: vec![root], rule: |_| deny("no"), ..Setup::default() });
    let port = origin.port();
    on_a_runtime(async {
        let mut client = Client2::tls(&lab, port).await;
        let (head, _) =
            client.connect(websocket(&format!("https://a.test:{port}/chat"))).await.unwrap();
        assert_eq!(head.status(), 403);
    });
    assert_eq!(origin.connections(), 0);
    assert_records(lab, port, &["- GET https://a.test:PORT/chat"]);
}

#[test]
fn the_limit_of_the_rule_holds_for_a_websocket() {
    let (origin, root) = Origin2::tls_with(TAKES, &["h2"]);
    let rule = |_: &RequestFacts| allow_bytes(400);
    let lab = Lab::start(Setup { extra_ca: vec![root], rule, ..Setup::default() });
    let port = origin.port();
    on_a_runtime(async {
        let mut client = Client2::tls(&lab, port).await;
        let url = format!("https://a.test:{port}/chat");
        let (head, mut stream) = client.connect(websocket(&url)).await.unwrap();
        assert_eq!(head.status(), 200);
        stream.write_all(&[b'x'; 1000]).await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        assert!(heard.len() < 400, "{}", heard.len());
    });
}

#[test]
fn what_asks_for_anything_else_is_refused() {
    let version = ("sec-websocket-version", "13");
    for (protocol, headers, status) in [
        ("connect-udp", &[version][..], 501),
        ("webtransport", &[version], 501),
        ("h2c", &[], 501),
        ("", &[version], 501),
        ("websocket2", &[version], 501),
        ("websocket", &[], 400),
        ("websocket", &[("sec-websocket-version", "8")], 400),
        ("websocket", &[version, version], 400),
        ("websocket", &[version, ("content-length", "5")], 400),
        ("websocket", &[version, ("host", "b.test")], 400),
    ] {
        let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
        let port = origin.port();
        on_a_runtime(async {
            let mut client = Client2::plain(&lab, port).await;
            let request = asking(&format!("http://a.test:{port}/chat"), protocol, headers);
            let (head, _) = client.connect(request).await.unwrap();
            assert_eq!(head.status().as_u16(), status, "{protocol} {headers:?}");
        });
        assert_eq!(origin.connections(), 0);
        assert_records(lab, port, &["- HTTP http://a.test:PORT"]);
    }
}

#[test]
fn heads_that_break_the_rules_of_connect_are_refused() {
    let (method, scheme) = ((":method", "CONNECT"), (":scheme", "http"));
    let (authority, path) = ((":authority", "a.test:80"), (":path", "/chat"));
    let protocol = (":protocol", "websocket");
    for fields in [
        &[method, protocol, scheme, authority][..],
        &[method, protocol, authority, path],
        &[method, protocol, authority],
        &[(":method", "GET"), protocol, scheme, authority, path],
        &[method, protocol, protocol, scheme, authority, path],
        &[method, scheme, authority, path],
        &[method, authority, path],
        &[method, authority, scheme],
    ] {
        let (lab, origin) = (Lab::start(Setup::default()), Origin::plain(echo));
        let mut client = lab.connect((A_TEST, origin.port()));
        let answer = exchange(&mut client, &frame(HEADERS, END_HEADERS, 1, &block(fields)));
        assert!(answer.iter().any(|f| f.0 == RST_STREAM), "{fields:?}: {answer:?}");
        assert!(!answer.iter().any(|f| f.0 == HEADERS), "{fields:?}: {answer:?}");
        assert_eq!(origin.connections(), 0);
        assert_records(lab, origin.port(), &["- HTTP http://a.test:PORT"]);
    }
}

fn rule(facts: &RequestFacts) -> Decision {
    if facts.path == "/EVIL" { deny("no") } else { Decision::Allow(Limits::default()) }
}

#[test]
fn what_is_in_a_tunnel_is_judged_request_by_request() {
    let (origin, root) = Origin::tls(echo, "a.test");
    let lab = Lab::start(Setup { rule, extra_ca: vec![root], ..Setup::default() });
    let port = origin.port();
    on_a_runtime(async {
        let mut client = Client2::plain(&lab, 3128).await;
        let target = format!("a.test:{port}");
        let (head, stream) = client.connect(tunnel(&target)).await.unwrap();
        assert_eq!(head.status(), 200);
        let hello = Hello::to("a.test").config(&lab.authority);
        let name = rustls_pki_types::ServerName::try_from("a.test").unwrap();
        let mut stream =
            TlsConnector::from(std::sync::Arc::new(hello)).connect(name, stream).await.unwrap();
        for (path, status) in [("1", "200"), ("EVIL", "403"), ("2", "200")] {
            let request = format!("GET /{path} HTTP/1.1\r\nHost: {target}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = vec![0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes());
            // The rest: a body with as many bytes as its length says.
            let mut text = Vec::new();
            while !text.ends_with(b"\r\n\r\n") {
                text.push(stream.read_u8().await.unwrap());
            }
            let text = String::from_utf8(text).unwrap();
            let length = text.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
            stream.read_exact(&mut vec![0; length.parse().unwrap()]).await.unwrap();
        }
    });
    let url = "https://a.test:PORT";
    let expected =
        [format!("+ GET {url}/1"), format!("- GET {url}/EVIL"), format!("+ GET {url}/2")];
    assert_records(lab, port, &expected.each_ref().map(String::as_str));
}

#[test]
fn a_tunnel_that_is_none_or_leads_nowhere_has_one_record() {
    let lab = Lab::start(Setup::default());
    on_a_runtime(async {
        let mut client = Client2::plain(&lab, 3128).await;
        let (head, stream) = client.connect(tunnel("a.test:443")).await.unwrap();
        assert_eq!(head.status(), 200);
        // No tunnel in a tunnel.
        let mut inner = Client2::start(stream).await;
        let (head, _) = inner.connect(tunnel("b.test:443")).await.unwrap();
        assert_eq!(head.status(), 501);
        // Nothing comes.
        let (head, mut stream) = client.connect(tunnel("a.test:22")).await.unwrap();
        assert_eq!(head.status(), 200);
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest).await);
        assert_eq!(rest, b"");
        let mut odd = tunnel("a.test:443");
        odd.headers_mut().insert("content-length", "5".parse().unwrap());
        assert_eq!(client.connect(odd).await.unwrap().0.status(), 400);
        let mut odd = tunnel("a.test:443");
        odd.headers_mut().insert("host", "b.test".parse().unwrap());
        assert_eq!(client.connect(odd).await.unwrap().0.status(), 400);
    });
    let proxy = "- HTTP http://a.test:3128";
    let expected = ["- HTTP http://a.test:443", "- TCP tcp://a.test:22", proxy, proxy];
    assert_eq!(lab.records(), expected);
}

#[test]
fn one_who_asks_for_a_websocket_and_leaves_frees_the_origin() {
    let (origin, root) = Origin2::tls_with(TAKES, &["h2"]);
    let (lab, port) = (trusting(root), origin.port());
    on_a_runtime(async {
        let mut client = Client2::tls(&lab, port).await;
        let url = format!("https://a.test:{port}/hang");
        let asked = client.connect(websocket(&url));
        tokio::select! {
            _ = asked => panic!("nobody answers"),
            () = async { while origin.requests().is_empty() { tokio::task::yield_now().await } } => {}
        }
        // The stream was reset when it was dropped.
        while origin.resets().is_empty() {
            tokio::task::yield_now().await;
        }
    });
    assert_records(lab, port, &["+ GET https://a.test:PORT/hang"]);
}
