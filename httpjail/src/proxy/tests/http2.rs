//! HTTP/2 on its way through, to origins of either version.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use tokio::time::timeout;

use super::{
    http2_origin::{Client2, Manner, Origin2, on_a_runtime, read},
    lab::{A_TEST, Lab, Setup, allow_bytes, deny},
    origin::{Origin, echo},
    unfinished::assert_records,
    wire::Hello,
};

const SHORT: Duration = Duration::from_millis(100);

fn get(url: String) -> http::request::Builder {
    Request::get(url)
}

fn trusting(root: rustls_pki_types::CertificateDer<'static>) -> Lab {
    Lab::start(Setup { extra_ca: vec![root], ..Setup::default() })
}

fn trailers(name: &'static str, value: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, HeaderValue::from_static(value));
    trailers
}

#[test]
fn an_origin_of_http1_is_spoken_to_in_its_own_way() {
    let (origin, root) = Origin::tls(echo, "a.test");
    let (lab, port) = (trusting(root), origin.port());
    on_a_runtime(async {
        let mut client = Client2::tls(&lab, port).await;
        for _ in 0..2 {
            let crumbs = get(format!("https://a.test:{port}/x?q"))
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .header("te", "trailers");
            let reply = client.ask(crumbs).await.unwrap();
            assert_eq!((reply.status, &reply.body[..]), (200, &b"GET /x?q HTTP/1.1"[..]));
            assert_eq!(reply.headers["httpjail"], "true");
            assert_eq!(reply.headers["content-length"], "17");
        }
    });
    let expected = format!(
        "GET /x?q HTTP/1.1\r\ncookie: a=1; b=2\r\nte: trailers\r\nconnection: te\r\nhost: a.test:{port}\r\n\r\n"
    );
    assert_eq!(origin.requests(), [expected.clone(), expected]);
    assert_eq!(origin.connections(), 1);
    assert_records(lab, port, &["+ GET https://a.test:PORT/x?q"; 2]);
}

#[test]
fn bodies_keep_their_framing_towards_http1() {
    let origin = Origin::plain(echo);
    let (lab, port) = (Lab::start(Setup::default()), origin.port());
    on_a_runtime(async {
        // An origin that is spoken to by TLS may decline; a plain one is taken at the client's word.
        let mut client = Client2::plain(&lab, port).await;
        let reply = client.ask(get(format!("http://a.test:{port}/"))).await.unwrap();
        assert_eq!(reply.status, 502);
    });
    let (origin, root) = Origin::tls(echo, "a.test");
    let (lab, port) = (trusting(root), origin.port());
    on_a_runtime(async {
        let mut client = Client2::tls(&lab, port).await;
        let url = format!("https://a.test:{port}/");
        let sized = Request::post(&url).header("content-length", "5");
        assert_eq!(client.send(sized, b"hello", HeaderMap::new()).await.unwrap().status, 200);
        let unsized_ = Request::post(&url).header("trailer", "x-sum");
        let reply = client.send(unsized_, b"hello", trailers("x-sum", "1")).await.unwrap();
        assert_eq!(reply.status, 200);
    });
    let [sized, chunked] = &origin.requests()[..] else { panic!("two requests") };
    assert!(sized.ends_with("\r\n\r\nhello"), "{sized}");
    assert!(sized.contains("\r\ncontent-length: 5\r\n"), "{sized}");
    assert!(!chunked.contains("content-length"), "{chunked}");
    assert!(chunked.ends_with("\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"), "{chunked}");
}

#[test]
fn trailers_pass_both_ways_between_speakers_of_http2() {
    let (origin, root) = Origin2::tls(&["h2", "http/1.1"]);
    let (lab, port) = (trusting(root), origin.port());
    on_a_runtime(async {
        let mut client = Client2::tls(&lab, port).await;
        let request = Request::post(format!("https://a.test:{port}/p?q")).header("te", "trailers");
        let reply = client.send(request, b"hello", trailers("x-sum", "1")).await.unwrap();
        assert_eq!((reply.status, &reply.body[..]), (200, &b"hello"[..]));
        let trailers = reply.trailers.unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["x-sum"]),
            (&HeaderValue::from_static("0"), &HeaderValue::from_static("1"),)
        );
        assert_eq!(reply.headers["x-version"], "HTTP/2.0");
    });
    let requests = origin.requests();
    assert_eq!(requests[0].uri(), &*format!("https://a.test:{port}/p?q"));
    let headers = requests[0].headers();
    assert_eq!(headers["te"], "trailers");
    assert!(!headers.contains_key("host") && !headers.contains_key("connection"), "{headers:?}");
    assert_records(lab, port, &["+ POST https://a.test:PORT/p?q"]);
}

#[test]
fn prior_knowledge_goes_all_the_way() {
    let origin = Origin2::plain(Manner::default());
    let (lab, port) = (Lab::start(Setup::default()), origin.port());
    on_a_runtime(async {
        let mut client = Client2::plain(&lab, port).await;
        for path in ["1", "2", "3"] {
            let reply = client.ask(get(format!("http://a.test:{port}/{path}"))).await.unwrap();
            assert_eq!(reply.status, 200);
        }
        let head = client.ask(Request::head(format!("http://a.test:{port}/"))).await.unwrap();
        assert_eq!((head.status, &head.body[..]), (200, &b""[..]));
    });
    assert_eq!(origin.connections(), 1);
    assert_eq!(lab.judged_urls()[0], format!("http://a.test:{port}/1"));
    assert_eq!(origin.requests()[0].uri(), &*format!("http://a.test:{port}/1"));
}

#[test]
fn a_client_of_http1_reaches_an_origin_that_speaks_http2_alone() {
    let (origin, root) = Origin2::tls(&["h2"]);
    let (lab, port) = (trusting(root), origin.port());
    let mut client = lab.connect((A_TEST, port)).tls(&lab.authority, Hello::to("a.test"));
    for _ in 0..2 {
        let reply = client.get("a.test", "/");
        assert_eq!((reply.status, reply.header("x-version")), (200, vec!["HTTP/2.0"]));
    }
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                5\r\nhello\r\n0\r\n\r\n";
    assert!(client.ask(post).body.contains("hello"));
    // The first found no protocol in common.
    assert_eq!(origin.connections(), 2);
}

#[test]
fn many_requests_share_one_connection() {
    let (origin, root) = Origin2::tls(&["h2"]);
    let (lab, port) = (trusting(root), origin.port());
    on_a_runtime(async {
        let mut client = Client2::tls(&lab, port).await;
        let answers: Vec<_> =
            (0..40).map(|n| client.begin(get(format!("https://a.test:{port}/{n}")))).collect();
        for answer in answers {
            assert_eq!(super::http2_origin::read(answer).await.unwrap().status, 200);
        }
    });
    assert_eq!((origin.connections(), origin.requests().len()), (1, 40));
    assert_eq!(lab.records().len(), 40);
}

#[test]
fn a_full_connection_gets_company() {
    let origin = Origin2::plain(Manner { streams: 2, ..Manner::default() });
    let (lab, port) = (Lab::start(Setup::default()), origin.port());
    on_a_runtime(async {
        let mut client = Client2::plain(&lab, port).await;
        let url = |path| get(format!("http://a.test:{port}/{path}"));
        // The first brings the origin's limit.
        assert_eq!(client.ask(url("")).await.unwrap().status, 200);
        let _hanging: Vec<_> = (0..5).map(|_| client.begin(url("hang"))).collect();
        assert_eq!(client.ask(url("1")).await.unwrap().status, 200);
    });
    assert_eq!(origin.connections(), 3);
}

#[test]
fn streams_are_judged_one_by_one() {
    let rule = |facts: &crate::policy::RequestFacts| match facts.path.as_str() {
        "/denied" => deny("no"),
        "/little" => allow_bytes(10),
        _ => allow_bytes(1000),
    };
    let (origin, root) = Origin2::tls(&["h2"]);
    let lab = Lab::start(Setup { rule, extra_ca: vec![root], ..Setup::default() });
    let port = origin.port();
    on_a_runtime(async {
        let mut client = Client2::tls(&lab, port).await;
        let url = |host, path| format!("https://{host}:{port}/{path}");
        for (host, path, status) in [
            ("a.test", "1", 200),
            ("a.test", "denied", 403),
            ("b.test", "2", 421),
            ("a.test", "little", 413),
            ("a.test", "3", 200),
        ] {
            let reply = client.ask(get(url(host, path))).await.unwrap();
            assert_eq!(reply.status, status, "{host} {path}");
        }
        let denied = client.ask(Request::head(url("a.test", "denied"))).await.unwrap();
        assert_eq!((denied.status, &denied.body[..]), (403, &b""[..]));
        let denied = client.ask(get(url("a.test", "denied"))).await.unwrap();
        assert_eq!(denied.body, b"Request blocked by httpjail\nno");
    });
    assert_eq!(origin.requests().len(), 2);
    let expected = [
        "+ GET https://a.test:PORT/1",
        "- GET https://a.test:PORT/denied",
        "- HTTP http://a.test:PORT",
        "+ GET https://a.test:PORT/little",
        "+ GET https://a.test:PORT/3",
        "- HEAD https://a.test:PORT/denied",
        "- GET https://a.test:PORT/denied",
    ];
    assert_records(lab, port, &expected);
}

#[test]
fn who_expects_to_be_told_to_go_on_is_told() {
    let origin = Origin2::plain(Manner::default());
    let (lab, port) = (Lab::start(Setup::default()), origin.port());
    on_a_runtime(async {
        let mut client = Client2::plain(&lab, port).await;
        let request =
            Request::post(format!("http://a.test:{port}/")).header("expect", "100-continue");
        let request = request.version(http::Version::HTTP_2).body(()).unwrap();
        let (mut response, mut stream) = client.sender.send_request(request, false).unwrap();
        let told = std::future::poll_fn(|cx| response.poll_informational(cx)).await;
        assert_eq!(told.unwrap().unwrap().status(), 100);
        stream.send_data("hello".into(), true).unwrap();
        let reply = super::http2_origin::read(response).await.unwrap();
        assert_eq!(reply.body, b"hello");
    });
    assert!(!origin.requests()[0].headers().contains_key("expect"));
}

#[test]
fn long_bodies_pass_whole_both_ways() {
    const LENGTH: usize = 8 * 1024 * 1024;
    let origin = Origin2::plain(Manner::default());
    let (lab, port) = (Lab::start(Setup::default()), origin.port());
    on_a_runtime(async {
        let mut client = Client2::plain(&lab, port).await;
        let body: Vec<u8> = (0..LENGTH).map(|n| (n % 251) as u8).collect();
        let request = Request::post(format!("http://a.test:{port}/"));
        let reply = client.send(request, &body, HeaderMap::new()).await.unwrap();
        assert!(reply.body == body, "{} bytes came back", reply.body.len());
    });
}

/// The links of the interim answers to a request, and the status of the answer.
async fn hints(client: &mut Client2, url: String) -> (Vec<String>, u16) {
    let mut response = client.begin(get(url));
    let mut links = Vec::new();
    while let Some(hint) = std::future::poll_fn(|cx| response.poll_informational(cx)).await {
        let hint = hint.unwrap();
        assert_eq!(hint.status(), 103);
        assert!(!hint.headers().contains_key("alt-svc"));
        links.push(hint.headers()["link"].to_str().unwrap().to_owned());
    }
    (links, super::http2_origin::read(response).await.unwrap().status)
}

#[test]
fn interim_answers_pass() {
    let script = |_: &str| {
        let hint = |n| format!("HTTP/1.1 103 Early Hints\r\nLink: {n}\r\nAlt-Svc: h3\r\n\r\n");
        let end = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        Some(format!("{}{}{}{end}", hint(0), hint(1), hint(2)).into_bytes())
    };
    let expected = (["0", "1", "2"].map(str::to_owned).to_vec(), 200);
    let (old, root) = Origin::tls(script, "a.test");
    let (lab, port) = (trusting(root), old.port());
    on_a_runtime(async {
        let mut client = Client2::tls(&lab, port).await;
        assert_eq!(hints(&mut client, format!("https://a.test:{port}/")).await, expected);
    });
    let (new, root) = Origin2::tls(&["h2"]);
    let (lab, port) = (trusting(root), new.port());
    on_a_runtime(async {
        let mut client = Client2::tls(&lab, port).await;
        assert_eq!(hints(&mut client, format!("https://a.test:{port}/hints")).await, expected);
    });
}

/// curl 7.88 waits for ever when the answer ends before its upload does.
#[test]
fn an_answer_ends_after_an_upload() {
    let lab = Lab::start(Setup { rule: |_| deny("no"), ..Setup::default() });
    on_a_runtime(async {
        let mut client = Client2::plain(&lab, 80).await;
        for (length, ends_early) in [(Some("10"), false), (None, true)] {
            let mut put = Request::put("http://a.test/");
            if let Some(length) = length {
                put = put.header("content-length", length);
            }
            let (answer, mut upload) = client.begin_upload(put);
            upload.send_data(Bytes::from_static(b"12345"), false).unwrap();
            let (head, mut body) = answer.await.unwrap().into_parts();
            assert_eq!(head.status, 403);
            while let Some(data) = timeout(SHORT, body.data()).await.unwrap_or_default() {
                assert!(data.unwrap().starts_with(b"Request blocked"));
            }
            assert_eq!(body.is_end_stream(), ends_early, "{length:?}");
            upload.send_data(Bytes::from_static(b"67890"), true).unwrap();
            while let Some(data) = body.data().await {
                assert_eq!(data.unwrap(), "");
            }
            assert!(body.is_end_stream());
        }
    });
}

/// Some clients wait for the end of the answer before they go on, or give up.
#[test]
fn an_answer_does_not_wait_for_an_upload_that_has_stopped() {
    let lab = Lab::start(Setup { rule: |_| deny("no"), ..Setup::default() });
    on_a_runtime(async {
        let mut client = Client2::plain(&lab, 80).await;
        let put = Request::put("http://a.test/").header("content-length", "10");
        let (answer, _upload) = client.begin_upload(put);
        let reply = timeout(Duration::from_secs(10), read(answer)).await.unwrap().unwrap();
        assert_eq!(reply.status, 403);
    });
}
