//! A browser in a jail: it shows pages, with all that they load, as it does without.

use std::sync::Arc;

use httpjail_tests::{Duplex, Lab, Reply, Seen, echo_websocket};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::Semaphore;

/// The browser keeps its own sandbox: as a plain user it ends if it can't have one. It has a list of
/// authorities of its own, to which the user's database of certificates adds.
fn dump(url: &str) -> String {
    const TRUST: &str = "mkdir -p $HOME/.pki/nssdb
        certutil -d sql:$HOME/.pki/nssdb -N --empty-password
        certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n jail -i $NODE_EXTRA_CA_CERTS";
    // Nothing but what is asked for, as far as the browser can be told.
    const QUIET: &str = "--no-first-run --disable-background-networking --disable-component-update";
    format!(
        "export HOME=$(realpath $(mktemp -d -p .)); {TRUST}
         timeout 18 chromium --headless --disable-gpu {QUIET} --dump-dom {url} 2> err || tail err"
    )
}

#[test]
fn chromium_shows_a_page() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let script = dump("https://a.test/");
    let outside = lab.outside().as_user().sh(&script);
    assert!(outside.stdout.contains("hello from a.test"), "without a jail: {outside:?}");
    let allowed = lab.jail().as_user().js("r.host === 'a.test'").sh(&script);
    assert!(allowed.stdout.contains("hello from a.test"), "{allowed:?}");
    let before = a.seen().len();
    let denied = lab.jail().as_user().js("false").sh(&script);
    assert!(denied.stdout.contains("blocked by httpjail"), "the browser shows why: {denied:?}");
    assert_eq!(a.seen().len(), before, "a denied request got out");
    lab.assert_clean();
}

const RESOURCES: usize = 50;
const EVENTS: usize = 5;

/// The picture that is awaited keeps the page from being loaded until all has come, and its text is
/// written before that.
const PAGE: &str = r#"<!DOCTYPE html><html><body><script>
const done = [];
function part(name) {
    done.push(name);
    if (done.length < 3) return;
    document.body.append("all of it: " + done.sort().join(", "));
    new Image().src = "https://events.test/told";
}
let loaded = 0;
function one() { if (++loaded === 50) part("50 resources"); }
const socket = new WebSocket("wss://socket.test/chat");
socket.onopen = () => { socket.send("hello"); socket.send("end"); };
const heard = [];
socket.onmessage = message => heard.push(message.data);
socket.onclose = () => part(heard.join(" "));
const events = new EventSource("https://events.test/events");
let numbers = "";
events.onmessage = event => {
    numbers += event.data;
    if (numbers.length === 5) { events.close(); part(numbers); }
};
</script><img src="https://events.test/wait">"#;

fn resources(seen: &Seen) -> Reply {
    let (kind, text) = match seen.target.as_str() {
        "/" => {
            let mut page = PAGE.to_owned();
            for number in 0..RESOURCES / 2 {
                page += &format!("<script async src=\"/{number}.js\"></script>");
                page += &format!("<img src=\"/{number}.svg\" onload=\"one()\">");
            }
            ("text/html", page)
        }
        script if script.ends_with(".js") => ("text/javascript", "one();".to_owned()),
        _ => ("image/svg+xml", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_owned()),
    };
    let reply = http::Response::builder().header("content-type", kind);
    reply.body(text.into()).expect("a legal reply")
}

/// Sends events one by one, and answers the one who waits once somebody has told.
async fn events(stream: Box<dyn Duplex>, told: Arc<Semaphore>) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let nothing = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
    let mut pieces = vec![nothing.to_owned()];
    if head.starts_with("GET /events ") {
        pieces = vec![
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
             Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n"
                .to_owned(),
        ];
        pieces.extend((0..EVENTS).map(|number| format!("data: {number}\n\n")));
    } else if head.starts_with("GET /told ") {
        told.add_permits(1);
    } else {
        told.acquire().await.expect("it is never closed").forget();
    }
    for piece in pieces {
        // A browser that has gone hears nothing more.
        if stream.write_all(piece.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    drop(stream.shutdown().await);
}

#[test]
fn chromium_loads_fifty_resources_a_websocket_and_events() {
    let lab = Lab::new();
    let a = lab.origin_with("a.test", resources);
    lab.raw_origin("socket.test", echo_websocket);
    let told = Arc::new(Semaphore::new(0));
    lab.raw_origin("events.test", move |stream| events(stream, Arc::clone(&told)));
    let script = dump("https://a.test/");
    let works = "all of it: 01234, 50 resources, hello bye";
    let outside = lab.outside().as_user().sh(&script);
    assert!(outside.stdout.contains(works), "without a jail: {outside:?}");
    let before = a.seen().len();
    assert!(before > RESOURCES);

    let allowed = lab.jail().as_user().js("r.host.endsWith('.test')").sh(&script);
    assert!(allowed.stdout.contains(works), "{allowed:?}");
    assert!(a.seen().len() >= 2 * before - 1, "as many, but for the icon of the page");
    for asked in ["https://socket.test/chat", "https://events.test/events", "https://a.test/24.js"]
    {
        assert!(allowed.log.contains(&format!("+ GET {asked}")), "{asked}: {allowed:?}");
    }
    let before = a.seen().len();
    let denied = lab.jail().as_user().js("false").sh(&script);
    assert!(!denied.stdout.contains(works), "{denied:?}");
    assert_eq!(a.seen().len(), before, "a denied request got out");
    lab.assert_clean();
}
