//! Bodies, framing, and attempts to hide one request inside another.

use super::{
    lab::{A_TEST, Lab, Setup},
    origin::{Origin, echo},
};

fn lab_and_origin() -> (Lab, Origin) {
    (Lab::start(Setup::default()), Origin::plain(echo))
}

#[test]
fn bodies_stream_in_both_framings() {
    let (lab, origin) = lab_and_origin();
    let mut client = lab.connect((A_TEST, origin.port()));
    let sized = "POST /1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(client.ask(sized).status, 200);
    let chunked = "POST /2 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    assert_eq!(client.ask(chunked).status, 200);
    let [sized, chunked] = &origin.requests()[..] else { panic!("two requests") };
    assert!(sized.ends_with("\r\ncontent-length: 5\r\n\r\nhello"), "{sized}");
    assert!(chunked.contains("\r\ntransfer-encoding: chunked\r\n"), "{chunked}");
    assert!(!chunked.contains("ext=1"), "{chunked}");
    assert!(chunked.ends_with("\r\n0\r\n\r\n"), "{chunked}");
}

#[test]
fn trailers_pass() {
    let (lab, origin) = lab_and_origin();
    let request = "POST / HTTP/1.1\r\nHost: a.test\r\nTrailer: X-Sum\r\n\
                   Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n";
    assert_eq!(lab.connect((A_TEST, origin.port())).ask(request).status, 200);
    assert!(origin.request().ends_with("0\r\nx-sum: 1\r\n\r\n"), "{}", origin.request());
}

#[test]
fn answers_without_a_body_stay_without() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(|request| {
        let answer = match request.split(' ').nth(1).unwrap_or_default() {
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nETag: e\r\n\r\n",
            "/chunkedhead" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            "/100" => {
                "HTTP/1.1 100 Continue\r\n\r\n\
                       HTTP/1.1 200 Fine\r\nContent-Length: 0\r\n\r\n"
            }
            _ => return None,
        };
        Some(answer.into())
    });
    let mut client = lab.connect((A_TEST, origin.port()));
    let mut ask = |method: &str, path: &str| {
        client.ask(&format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"))
    };
    assert_eq!(ask("HEAD", "/head").header("content-length"), ["9"]);
    assert_eq!(ask("HEAD", "/chunkedhead").header("content-length"), [""; 0]);
    assert_eq!(ask("GET", "/204").status, 204);
    assert_eq!(ask("GET", "/304").status, 304);
    assert!(ask("GET", "/100").head.starts_with("HTTP/1.1 200 Fine\r\n"));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn answers_of_unknown_length_end_with_the_connection() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(|request| {
        let answer = match request.contains("/chunked") {
            true => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            false => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc",
        };
        Some(answer.into())
    });
    let mut client = lab.connect((A_TEST, origin.port()));
    assert_eq!(client.get("a.test", "/chunked").body, "3\r\nabc\r\n0\r\n\r\n");
    drop(client);
    drop(lab);
}

#[test]
fn response_headers_are_cleaned_and_kept_apart() {
    let lab = Lab::start(Setup::default());
    let origin = Origin::plain(|_| {
        Some(
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nAlt-Svc: h3=\":443\"\r\n\
             Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n\
             HTTPJAIL: forged\r\nContent-Length: 0\r\n\r\n"
                .into(),
        )
    });
    let reply = lab.connect((A_TEST, origin.port())).get("a.test", "/");
    assert_eq!(reply.header("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(reply.header("httpjail"), ["true"]);
    for gone in ["alt-svc", "connection", "x-hop", "keep-alive", "upgrade"] {
        assert_eq!(reply.header(gone), [""; 0], "{gone}");
    }
}

#[test]
fn a_body_is_asked_for_only_when_it_may_leave() {
    let rule = |facts: &crate::policy::RequestFacts| match facts.path.as_str() {
        "/yes" => crate::policy::Decision::Allow(crate::policy::Limits::default()),
        _ => super::lab::deny("no"),
    };
    let lab = Lab::start(Setup { rule, ..Setup::default() });
    let origin = Origin::plain(echo);
    let head = |path: &str| {
        format!(
            "PUT {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut client = lab.connect((A_TEST, origin.port()));
    assert_eq!(client.ask(&head("/yes")).status, 100);
    assert_eq!(client.ask("ok").status, 200);
    assert!(origin.request().contains("\r\nexpect: 100-continue\r\n"), "{}", origin.request());
    assert_eq!(lab.connect((A_TEST, origin.port())).ask(&head("/no")).status, 403);
}

#[test]
fn a_request_hidden_in_another_never_comes_out() {
    // Whatever the answer is: the origin must see no request for /EVIL, and the rule none either
    // unless it was judged as a request of its own.
    for hiding in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nGET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "Content-Length: 0\r\nContent-Length: 40\r\n\r\nGET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "Content-Length: +0\r\n\r\nGET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "Content-Length: 0, 0\r\n\r\nGET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "Content-Length: 99999999999999999999\r\n\r\nGET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nGET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\nGET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "X: 1\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "X: 1\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "X: \0\r\n\r\nGET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\nGET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\nGET /EVIL HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ] {
        let (lab, origin) = lab_and_origin();
        let mut client = lab.connect((A_TEST, origin.port()));
        client.send(format!("POST /first HTTP/1.1\r\nHost: a.test\r\n{hiding}"));
        client.half_close();
        let answers = client.rest().unwrap_or_default();
        let judged = lab.judged().iter().filter(|facts| facts.path == "/EVIL").count();
        let seen =
            origin.requests().iter().filter(|request| request.starts_with("GET /EVIL")).count();
        assert!(seen <= judged, "{hiding:?}: {answers}");
        for request in origin.requests() {
            let lines = request.lines().filter(|line| line.contains("EVIL")).count();
            assert!(lines == 0 || request.starts_with("GET /EVIL"), "{hiding:?}: {request:?}");
        }
    }
}

#[test]
fn a_body_of_unknown_length_passes_with_every_method() {
    let (lab, origin) = lab_and_origin();
    let mut client = lab.connect((A_TEST, origin.port()));
    for method in ["GET", "OPTIONS", "DELETE", "SEARCH"] {
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nhi\r\n0\r\n\r\n"
        );
        assert_eq!(client.ask(&request).status, 200);
        let seen = origin.requests().pop().unwrap();
        assert!(seen.ends_with("\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "{seen}");
    }
}

#[test]
fn the_wish_for_trailers_is_passed_on_as_one_of_the_proxy_s_own() {
    let (lab, origin) = lab_and_origin();
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nTE: gzip, trailers\r\nConnection: TE\r\n\r\n";
    assert_eq!(lab.connect((A_TEST, origin.port())).ask(request).status, 200);
    let seen = origin.request();
    assert!(seen.contains("\r\nte: trailers\r\n"), "{seen}");
    assert!(seen.contains("\r\nconnection: te\r\n"), "{seen}");
}
