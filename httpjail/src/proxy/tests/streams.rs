//! Long bodies, broken ones, many connections, and the end of it all.

use std::{
    collections::HashSet,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread::{self, ThreadId},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::{
    lab::{A_TEST, Lab, Setup},
    origin::{Origin, echo},
    wire::{Client, Hello},
};
use crate::policy::{Decision, Limits, RequestFacts};

const LONG: usize = 8 * 1024 * 1024;

fn pattern() -> String {
    let mut pattern = "0123456789abcdef-".repeat(LONG / 17 + 1);
    pattern.truncate(LONG);
    pattern
}

#[test]
fn long_downloads_come_whole() {
    let script = |_: &str| {
        let body = pattern();
        Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n{body}").into_bytes())
    };
    let (origin, root) = Origin::tls(script, "a.test");
    let lab = Lab::start(Setup { extra_ca: vec![root], ..Setup::default() });
    let mut client = lab.connect((A_TEST, origin.port())).tls(&lab.authority, Hello::to("a.test"));
    assert!(client.get("a.test", "/1").body == pattern());
    assert!(client.get("a.test", "/2").body == pattern());
    assert_eq!(origin.connections(), 1);
}

#[test]
fn long_uploads_come_whole() {
    let lab = Lab::start(Setup::default());
    let (sender, received) = mpsc::channel();
    let address = sink(sender);
    let mut client = lab.connect((A_TEST, address.port()));
    let body = pattern();
    let head = format!("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {LONG}\r\n\r\n");
    assert_eq!(client.send(head).send(&body).reply(false).status, 204);
    assert!(received.recv().unwrap() == body.as_bytes());
}

/// An origin that reads a request with a body of `LONG` bytes and sends the body on.
fn sink(sender: mpsc::Sender<Vec<u8>>) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut client = Client::new(listener.accept().unwrap().0);
        client.until(b"\r\n\r\n");
        let mut body = client.take_unread();
        let left = LONG - body.len();
        Read::by_ref(&mut client.stream).take(left as u64).read_to_end(&mut body).unwrap();
        client.stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        sender.send(body).unwrap();
    });
    address
}

#[test]
fn an_answer_that_breaks_off_never_looks_whole() {
    let lab = Lab::start(Setup::default());
    // The script's answer is cut: the origin closes right behind it.
    let origin = Origin::plain_once(|request| {
        let head = match request.contains("/chunked") {
            true => "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            false => "Content-Length: 10\r\n\r\nabc",
        };
        Some(format!("HTTP/1.1 200 OK\r\n{head}").into_bytes())
    });
    for path in ["/sized", "/chunked"] {
        let mut client = lab.connect((A_TEST, origin.port()));
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let answer = client.rest().unwrap_or_default();
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    }
}

#[test]
fn an_early_answer_ends_a_long_upload() {
    let lab = Lab::start(Setup::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let origin = thread::spawn(move || {
        let mut client = Client::new(listener.accept().unwrap().0);
        client.until(b"\r\n\r\n");
        client.send("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
        client
    });
    let mut client = lab.connect((A_TEST, port));
    client.send("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n");
    assert_eq!(client.reply(false).status, 403);
    drop(origin.join().unwrap());
}

/// The origin has read nothing of the body when it answers, so that its end waits in the proxy for
/// room in the connection; the sizes are such that one of them does just that.
#[test]
fn an_early_answer_leaves_no_connection_that_holds_up_the_next_request() {
    let lab = Lab::start(Setup::default());
    let (uploaded, answer_now) = mpsc::channel();
    let (answered, read_now) = mpsc::channel();
    let port = eager(answer_now, read_now);
    for size in (16..=1024).step_by(16).map(|kibibytes| kibibytes * 1024) {
        let mut client = lab.connect((A_TEST, port));
        client.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client.send(format!("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {size}\r\n\r\n"));
        client.send("x".repeat(size));
        uploaded.send(()).unwrap();
        assert_eq!(client.reply(false).status, 204);
        answered.send(()).unwrap();
        assert_eq!(client.get("a.test", "/").status, 200, "after {size} bytes");
    }
}

/// An origin with little room that answers an upload before it reads the body.
fn eager(answer_now: mpsc::Receiver<()>, read_now: mpsc::Receiver<()>) -> u16 {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(128).unwrap();
    let listener = TcpListener::from(socket);
    let port = listener.local_addr().unwrap().port();
    let turns = Arc::new((Mutex::new(answer_now), Mutex::new(read_now)));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let turns = Arc::clone(&turns);
            // A connection that the proxy gives up in the middle is no failure.
            thread::spawn(move || answer_early(stream, &turns).unwrap_or_default());
        }
    });
    port
}

type Turn = Mutex<mpsc::Receiver<()>>;

fn answer_early(stream: TcpStream, (answer_now, read_now): &(Turn, Turn)) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        if length == 0 {
            reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        answer_now.lock().unwrap().recv().unwrap();
        reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        read_now.lock().unwrap().recv().unwrap();
        io::copy(&mut Read::by_ref(&mut reader).take(length), &mut io::sink())?;
    }
}

static THREADS: Mutex<Option<HashSet<ThreadId>>> = Mutex::new(None);

#[test]
fn connections_are_spread_over_the_workers() {
    fn rule(_: &RequestFacts) -> Decision {
        let mut threads = THREADS.lock().unwrap();
        threads.get_or_insert_default().insert(thread::current().id());
        Decision::Allow(Limits::default())
    }
    let lab = Lab::start(Setup { rule, ..Setup::default() });
    let origin = Origin::plain(echo);
    let mut clients: Vec<_> = (0..2).map(|_| lab.connect((A_TEST, origin.port()))).collect();
    for client in &mut clients {
        assert_eq!(client.get("a.test", "/").status, 200);
    }
    assert_eq!(THREADS.lock().unwrap().as_ref().map(HashSet::len), Some(2));
}

#[test]
fn the_end_cuts_what_is_under_way() {
    let lab = Lab::start(Setup::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut idle = lab.connect((A_TEST, 80));
    let mut busy = lab.connect((A_TEST, listener.local_addr().unwrap().port()));
    busy.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut origin = Client::new(listener.accept().unwrap().0);
    origin.until(b"\r\n\r\n");
    drop(lab);
    assert_eq!(idle.rest().unwrap_or_default(), "");
    assert_eq!(busy.rest().unwrap_or_default(), "");
}
