//! HTTP/2 when something breaks, waits or is given up.

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use h2::Reason;
use http::{HeaderMap, Request};
use tokio::task::yield_now;

use super::{
    http2_origin::{Client2, Manner, Origin2, on_a_runtime},
    lab::{Lab, Setup},
    unfinished::assert_records,
};
use crate::proxy::Timeouts;

fn lab_and_origin() -> (Lab, Origin2) {
    (Lab::start(Setup::default()), Origin2::plain(Manner::default()))
}

fn get(port: u16, path: &str) -> http::request::Builder {
    Request::get(format!("http://a.test:{port}/{path}"))
}

/// Lets other tasks run until `done`.
async fn wait_until(done: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(std::time::Instant::now() < deadline, "it never happens");
        yield_now().await;
    }
}

#[test]
fn what_the_origin_refused_unread_is_asked_again() {
    let (lab, origin) = lab_and_origin();
    let port = origin.port();
    on_a_runtime(async {
        let mut client = Client2::plain(&lab, port).await;
        assert_eq!(client.ask(get(port, "refuse")).await.unwrap().status, 200);
        // What has a body is the client's to send again, and it's told that it may.
        let post = || Request::post(format!("http://a.test:{port}/refuse?post"));
        let refused = client.send(post(), b"x", HeaderMap::new()).await.unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::REFUSED_STREAM));
        assert_eq!(client.send(post(), b"x", HeaderMap::new()).await.unwrap().status, 200);
    });
    let expected = [
        "+ GET http://a.test:PORT/refuse",
        "+ POST http://a.test:PORT/refuse?post",
        "+ POST http://a.test:PORT/refuse?post",
    ];
    assert_records(lab, port, &expected);
}

#[test]
fn a_connection_that_goes_is_replaced() {
    let (lab, origin) = lab_and_origin();
    let port = origin.port();
    on_a_runtime(async {
        let mut client = Client2::plain(&lab, port).await;
        for n in 0..5 {
            let reply = client.ask(get(port, if n == 1 { "goes" } else { "stays" })).await;
            assert_eq!(reply.unwrap().status, 200);
        }
    });
    assert!(origin.connections() >= 2, "{}", origin.connections());
    assert_eq!(lab.records().len(), 5);
}

#[test]
fn an_answer_that_breaks_off_never_looks_whole() {
    let (lab, origin) = lab_and_origin();
    let port = origin.port();
    on_a_runtime(async {
        let mut client = Client2::plain(&lab, port).await;
        let head = get(port, "break").method("POST").version(http::Version::HTTP_2);
        let (answer, mut stream) =
            client.sender.send_request(head.body(()).unwrap(), false).unwrap();
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "half");
        // The origin waits for this, so that its reset doesn't overtake the data.
        stream.send_data("".into(), true).unwrap();
        let broken = body.data().await.unwrap().unwrap_err();
        assert_eq!(broken.reason(), Some(Reason::ENHANCE_YOUR_CALM));
        assert_eq!(client.ask(get(port, "")).await.unwrap().status, 200);
    });
}

#[test]
fn what_the_client_gives_up_is_given_up_upstream() {
    let (lab, origin) = lab_and_origin();
    let port = origin.port();
    on_a_runtime(async {
        let mut client = Client2::plain(&lab, port).await;
        let asked = client.begin(get(port, "hang"));
        // With a body that is never finished.
        let head = get(port, "hang").method("POST").version(http::Version::HTTP_2);
        let (answer, mut stream) =
            client.sender.send_request(head.body(()).unwrap(), false).unwrap();
        stream.send_data("begun".into(), false).unwrap();
        wait_until(|| origin.requests().len() == 2).await;
        drop((asked, answer));
        stream.send_reset(Reason::CANCEL);
        wait_until(|| origin.resets().len() == 2).await;
        // And with its connection.
        let answer = client.begin(get(port, "hang"));
        wait_until(|| origin.requests().len() == 3).await;
        drop((client, answer));
        wait_until(|| origin.resets().len() == 3).await;
    });
    assert_eq!(origin.resets(), [Reason::CANCEL; 3]);
}

#[test]
fn a_reader_that_pauses_holds_up_its_own_answer_alone() {
    const MOST: usize = 4 * 1024 * 1024;
    let (lab, origin) = lab_and_origin();
    let port = origin.port();
    on_a_runtime(async {
        let mut client = Client2::plain(&lab, port).await;
        let paused = client.begin(get(port, "endless")).await.unwrap();
        for _ in 0..200 {
            assert_eq!(client.ask(get(port, "")).await.unwrap().status, 200);
        }
        let sent = origin.sent();
        assert!((1..MOST).contains(&sent), "{sent} bytes are on their way");
        let mut others: Vec<_> = (0..20).map(|_| client.begin(get(port, "endless"))).collect();
        for other in &mut others {
            let _answer = other.await.unwrap();
        }
        assert_eq!(client.ask(get(port, "")).await.unwrap().status, 200);
        drop(paused);
    });
}

#[test]
fn an_idle_connection_is_told_to_go_and_a_busy_one_is_not() {
    const SHORT: Duration = Duration::from_millis(60);
    let timeouts = Timeouts { head: SHORT, idle: SHORT, ..Timeouts::default() };
    let lab = Lab::start(Setup { timeouts, ..Setup::default() });
    let origin = Origin2::plain(Manner::default());
    let port = origin.port();
    on_a_runtime(async {
        let mut busy = Client2::plain(&lab, port).await;
        let answer = busy.begin(get(port, "hang"));
        let mut idle = Client2::plain(&lab, port).await;
        assert_eq!(idle.ask(get(port, "")).await.unwrap().status, 200);
        // The end of the one is the clock for the other.
        wait_until(|| {
            let mut context = Context::from_waker(Waker::noop());
            matches!(idle.sender.clone().poll_ready(&mut context), Poll::Ready(Err(_)))
        })
        .await;
        assert_eq!(busy.ask(get(port, "")).await.unwrap().status, 200);
        drop(answer);
    });
    assert_eq!(lab.records().len(), 3);
}
