//! Decisions that somebody else makes, in their own time.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use http::Request;

use super::{
    http2_origin::{Client2, on_a_runtime},
    lab::{A_TEST, Lab, Setup, allow_tcp, deny},
    origin::{Origin, echo},
    unfinished::assert_records,
};
use crate::{
    policy::{Awaited, DecidedBy, Decision, Limits, RemoteEngine, RequestFacts, Scheme},
    proxy::Timeouts,
};

/// Decides by the path, and about `/never` never.
#[derive(Default)]
struct Elsewhere {
    asked: AtomicUsize,
}

impl RemoteEngine for Elsewhere {
    fn ask(&self, facts: &Arc<RequestFacts>) -> Awaited {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let facts = RequestFacts::clone(facts);
        Box::pin(async move {
            tokio::task::yield_now().await;
            match facts.path.as_str() {
                "/never" => pending().await,
                "/no" => deny("not that"),
                _ if facts.scheme == Scheme::Tcp => allow_tcp(),
                _ => Decision::Allow(Limits::default()),
            }
        })
    }

    fn decided_by(&self, _facts: &RequestFacts) -> DecidedBy {
        DecidedBy::Engine("elsewhere")
    }

    fn may_open_tcp(&self) -> bool {
        true
    }
}

impl Elsewhere {
    /// Waits until it was asked so often.
    fn await_questions(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.asked.load(Ordering::SeqCst) < count {
            assert!(Instant::now() < deadline, "not asked");
            thread::yield_now();
        }
    }
}

fn lab() -> (Lab, Arc<Elsewhere>) {
    let elsewhere = Arc::new(Elsewhere::default());
    let remote: Arc<dyn RemoteEngine> = Arc::clone(&elsewhere) as _;
    let timeouts = Timeouts { silence: Duration::from_millis(30), ..Timeouts::default() };
    (Lab::start(Setup { remote: Some(remote), timeouts, ..Setup::default() }), elsewhere)
}

const NEVER: &str = "GET /never HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn others_are_served_meanwhile_and_each_has_its_record() {
    let (lab, elsewhere) = lab();
    let origin = Origin::plain(echo);
    // More than there are workers.
    let mut undecided: Vec<_> = (0..5).map(|_| lab.connect((A_TEST, origin.port()))).collect();
    for client in &mut undecided {
        client.send(NEVER);
    }
    elsewhere.await_questions(5);
    let mut client = lab.connect((A_TEST, origin.port()));
    assert_eq!(client.get("a.test", "/").status, 200);
    let refused = client.get("a.test", "/no");
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (403, "Request blocked by httpjail\nnot that")
    );
    // Those whose client goes are denied; so are, at the end, those that nobody decided about.
    undecided.truncate(2);
    lab.await_records(5);
    let mut records = lab.records();
    records.sort();
    let record = |verdict, path| format!("{verdict} GET http://a.test:{}{path}", origin.port());
    let mut expected = vec![record('+', "/")];
    expected.extend((0..5).map(|_| record('-', "/never")));
    expected.push(record('-', "/no"));
    assert_eq!(records, expected);
    assert!(!origin.requests().iter().any(|request| request.contains("/never")));
}

#[test]
fn streams_of_one_connection_don_t_wait_for_each_other() {
    let (lab, elsewhere) = lab();
    let port = 80;
    on_a_runtime(async {
        let mut client = Client2::plain(&lab, port).await;
        let get = |path: &str| Request::get(format!("http://a.test:{port}{path}"));
        let given_up = client.begin(get("/never"));
        let _undecided = client.begin(get("/never"));
        let refused = client.ask(get("/no")).await.unwrap();
        assert_eq!(
            (refused.status, &refused.body[..]),
            (403, &b"Request blocked by httpjail\nnot that"[..])
        );
        elsewhere.await_questions(3);
        drop(given_up);
        assert_eq!(client.ask(get("/no")).await.unwrap().status, 403);
        lab.await_records(3);
    });
    let mut records = lab.records();
    records.sort();
    let record = |path| format!("- GET http://a.test{path}");
    assert_eq!(records, ["/never", "/never", "/no", "/no"].map(record));
}

#[test]
fn who_asks_and_closes_at_once_has_a_record() {
    let (lab, _) = lab();
    let mut client = lab.connect((A_TEST, 80));
    client.send(NEVER).half_close();
    drop(client);
    lab.await_records(1);
    assert_records(lab, 80, &["- GET http://a.test/never"]);
}

#[test]
fn a_silent_connection_is_asked_about_too() {
    let (lab, elsewhere) = lab();
    let greeter = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = greeter.local_addr().unwrap().port();
    let mut client = lab.connect((A_TEST, port));
    let (mut server, _) = greeter.accept().unwrap();
    std::io::Write::write_all(&mut server, b"hello\n").unwrap();
    assert_eq!(client.until(b"\n"), "hello\n");
    assert_eq!(elsewhere.asked.load(Ordering::SeqCst), 1);
    drop((client, server));
    assert_eq!(lab.records(), [format!("+ TCP tcp://a.test:{port}")]);
}
