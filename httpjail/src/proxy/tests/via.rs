//! Through a proxy of the user's network: `https` by CONNECT, `http` request by request.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::{
    lab::{A_TEST, Lab, Setup},
    origin::{Origin, echo},
    wire::{Hello, Reply},
};
use crate::{
    policy::Authority,
    upstream::{ExceptedHosts, Exception, Options, PrivateAccess, Proxies, Proxy, Timeouts},
};

/// A proxy that knows one origin, whatever it is asked for, and remembers what that was.
struct Via {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

/// What a proxy does with what it is asked for.
#[derive(Clone, Copy)]
enum Manner {
    /// As it should.
    Serving,
    /// Says this, and closes.
    Answering(&'static str),
    /// Says nothing, and waits.
    Silent,
}

impl Via {
    fn start(origin: SocketAddr, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::default());
        let noted = Arc::clone(&heads);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let noted = Arc::clone(&noted);
                thread::spawn(move || drop(serve(client, origin, manner, &noted)));
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    fn proxy(&self) -> Proxy {
        Proxy::new(self.address.ip_with_port(), Some((b"me", b"secret")))
    }
}

trait IpWithPort {
    fn ip_with_port(&self) -> Authority;
}

impl IpWithPort for SocketAddr {
    fn ip_with_port(&self) -> Authority {
        Authority::new(self.ip().into(), self.port())
    }
}

fn serve(
    mut client: TcpStream,
    origin: SocketAddr,
    manner: Manner,
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        heads.lock().unwrap().push(head.clone());
        match manner {
            Manner::Serving => {}
            Manner::Answering(answer) => return client.write_all(answer.as_bytes()),
            Manner::Silent => return reader.read_to_end(&mut Vec::new()).map(drop),
        }
        let mut server = TcpStream::connect(origin)?;
        if head.starts_with("CONNECT ") {
            client.write_all(
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Connection established\r\nX: y\r\n\r\n",
            )?;
            return relay(reader, client, server);
        }
        // As proxies do: the target in its short form, and nothing that was for the proxy alone.
        let (line, fields) = head.split_once("\r\n").unwrap();
        let (method, rest) = line.split_once(" http://").unwrap();
        let path = &rest[rest.find('/').unwrap()..];
        let fields: String = fields
            .split_inclusive("\r\n")
            .filter(|field| !field.to_lowercase().starts_with("proxy-"))
            .collect();
        write!(server, "{method} {path}\r\n{fields}")?;
        let mut answer = [0; 4096];
        let length = server.read(&mut answer)?;
        client.write_all(&answer[..length])?;
    }
}

fn relay(
    mut up: BufReader<TcpStream>,
    mut client: TcpStream,
    server: TcpStream,
) -> std::io::Result<()> {
    let (mut to, mut from) = (server.try_clone()?, server);
    let down = thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut client));
        drop(client.shutdown(Shutdown::Write));
    });
    drop(std::io::copy(&mut up, &mut to));
    drop(to.shutdown(Shutdown::Write));
    drop(down.join());
    Ok(())
}

fn through(via: &Via, private: PrivateAccess) -> Setup {
    let proxy = Some(via.proxy());
    let proxies = Proxies { http: proxy.clone(), https: proxy, except: Vec::new() };
    Setup { private, options: Options { proxies, ..Options::default() }, ..Setup::default() }
}

/// What a request by `http` from `host` is answered.
fn ask(lab: &Lab, host: &str, port: u16) -> Reply {
    lab.connect((A_TEST, port)).get(host, "/x?y")
}

const CREDENTIALS: &str = "Basic bWU6c2VjcmV0";

#[test]
fn plain_requests_are_given_to_the_proxy_one_by_one() {
    let origin = Origin::plain(echo);
    let via = Via::start(origin.address, Manner::Serving);
    let lab = Lab::start(through(&via, PrivateAccess::All));
    let mut client = lab.connect((A_TEST, 80));
    for _ in 0..2 {
        assert_eq!(client.get("c.test", "/x?y").body, "GET /x?y HTTP/1.1");
    }
    let [first, second] = &via.heads()[..] else { panic!("{:?}", via.heads()) };
    assert_eq!(first, second);
    assert!(first.starts_with("GET http://c.test/x?y HTTP/1.1\r\n"), "{first}");
    assert!(first.contains(&format!("\r\nproxy-authorization: {CREDENTIALS}\r\n")), "{first}");
    assert!(first.contains("\r\nhost: c.test\r\n"), "{first}");
    assert!(!origin.requests().iter().any(|request| request.contains("bWU6")));
    assert_eq!(ask(&lab, "c.test:8080", 8080).status, 200);
    assert!(via.heads()[2].starts_with("GET http://c.test:8080/x?y "));
    assert_eq!(lab.records().len(), 3);
}

#[test]
fn what_the_command_tells_the_proxy_stays_with_us() {
    let origin = Origin::plain(echo);
    let via = Via::start(origin.address, Manner::Serving);
    let lab = Lab::start(through(&via, PrivateAccess::All));
    let request = "GET / HTTP/1.1\r\nHost: c.test\r\nProxy-Authorization: Basic eHg=\r\n\r\n";
    assert_eq!(lab.connect((A_TEST, 80)).ask(request).status, 200);
    let head = via.heads().remove(0).to_lowercase();
    assert_eq!(head.matches("proxy-authorization").count(), 1, "{head}");
    assert!(!head.contains("ehg="), "{head}");
}

#[test]
fn https_goes_through_by_connect_and_is_verified() {
    let (origin, root) = Origin::tls(echo, "c.test");
    let via = Via::start(origin.address, Manner::Serving);
    let setup = Setup { extra_ca: vec![root], ..through(&via, PrivateAccess::All) };
    let lab = Lab::start(setup);
    for (name, status) in [("c.test", 200), ("d.test", 502)] {
        let mut client = lab.connect((A_TEST, 443)).tls(&lab.authority, Hello::to(name));
        let reply = client.get(name, "/x");
        assert_eq!(reply.status, status, "{reply:?}");
    }
    let question = |name: &str| {
        format!(
            "CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\
             Proxy-Authorization: {CREDENTIALS}\r\n\r\n"
        )
    };
    assert_eq!(via.heads(), [question("c.test"), question("d.test")]);
    assert_eq!(origin.requests().len(), 1);
    assert!(!origin.request().contains("bWU6"));
}

/// Agrees to a WebSocket at `/chat`, and answers words in it.
fn chat(request: &str) -> Option<Vec<u8>> {
    match request {
        _ if request.starts_with("GET /chat ") => Some(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                .to_vec(),
        ),
        _ if request.starts_with("GET ") => echo(request),
        words => Some(format!("heard {words}").into_bytes()),
    }
}

#[test]
fn a_websocket_gets_a_connection_through_the_proxy_and_shares_it_with_nobody() {
    let origin = Origin::plain(chat);
    let via = Via::start(origin.address, Manner::Serving);
    let lab = Lab::start(through(&via, PrivateAccess::All));
    let mut client = lab.connect((A_TEST, 80));
    let wish = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: c.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    };
    assert_eq!(client.ask(&wish("/declined")).body, "GET /declined HTTP/1.1");
    // By the proxy again, and not by the connection that is left: it would be told the password.
    assert_eq!(client.get("c.test", "/x").status, 200);
    let head = client.send(wish("/chat")).until(b"\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(client.send("words\r\n\r\n").until(b"\r\n\r\n"), "heard words\r\n\r\n");
    let lines: Vec<_> =
        via.heads().iter().map(|head| head.lines().next().unwrap().to_owned()).collect();
    let connect = "CONNECT c.test:80 HTTP/1.1";
    assert_eq!(lines, [connect, "GET http://c.test/x HTTP/1.1", connect]);
    assert!(!origin.requests().iter().any(|request| request.contains("bWU6")));
}

#[test]
fn a_name_with_an_address_of_the_users_is_connected_to_there() {
    let origin = Origin::plain(echo);
    let via = Via::start(origin.address, Manner::Serving);
    let lab = Lab::start(through(&via, PrivateAccess::All));
    assert_eq!(ask(&lab, "a.test", 80).status, 200);
    assert!(via.heads()[0].starts_with("CONNECT 127.0.0.1:80 "), "{:?}", via.heads());
    assert!(origin.request().contains("host: a.test\r\n"));
}

#[test]
fn exceptions_and_this_machine_are_reached_without_the_proxy() {
    let origin = Origin::plain(echo);
    let via = Via::start(origin.address, Manner::Serving);
    let mut setup = through(&via, PrivateAccess::All);
    let hosts = ExceptedHosts::Domain("b.test".to_owned());
    setup.options.proxies.except = vec![Exception { hosts, port: None }];
    let lab = Lab::start(setup);
    for host in ["b.test", "127.0.0.1"] {
        let host = format!("{host}:{}", origin.port());
        assert_eq!(ask(&lab, &host, origin.port()).status, 200, "{host}");
    }
    assert_eq!(via.heads(), [""; 0]);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn special_addresses_are_refused_before_the_proxy_is_asked() {
    let origin = Origin::plain(echo);
    let via = Via::start(origin.address, Manner::Serving);
    let lab = Lab::start(through(&via, PrivateAccess::None));
    for host in ["10.0.0.1", "169.254.169.254", "[fd00::1]", "[::ffff:10.0.0.1]", "a.test"] {
        let reply = ask(&lab, host, 80);
        assert_eq!(reply.status, 502, "{host}");
        assert!(reply.body.contains("--allow-private allows it"), "{host}: {}", reply.body);
    }
    assert_eq!(via.heads(), [""; 0]);
    // The proxy itself may be private, and others aren't kept from it.
    assert_eq!(ask(&lab, "45.67.89.10", 80).status, 200);
}

#[test]
fn what_the_proxy_says_instead_is_told_without_its_name() {
    let origin = Origin::plain(echo);
    for (manner, by_http, by_https) in [
        (
            Manner::Answering(
                "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
            ),
            Some("pass the upstream proxy: get its consent: it wants other credentials (407)"),
            "pass the upstream proxy: get its consent: it wants other credentials (407)",
        ),
        (
            Manner::Answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope"),
            None,
            "pass the upstream proxy: get its consent: it answered 403",
        ),
        (
            Manner::Answering("SSH-2.0-x\r\n\r\n"),
            Some("get an answer from c.test"),
            "pass the upstream proxy: understand its answer: is it an HTTP proxy?",
        ),
        (
            Manner::Answering(""),
            Some("get an answer from c.test"),
            "pass the upstream proxy: get its answer: ",
        ),
    ] {
        let via = Via::start(origin.address, manner);
        let lab = Lab::start(through(&via, PrivateAccess::All));
        let reply = ask(&lab, "c.test", 80);
        match by_http {
            Some(text) => assert_failed(&reply, text, &via),
            // Whether the proxy says so or the origin can't be told.
            None => assert_eq!((reply.status, reply.body.as_str()), (403, "nope")),
        }
        let mut client = lab.connect((A_TEST, 443)).tls(&lab.authority, Hello::to("c.test"));
        assert_failed(&client.get("c.test", "/"), by_https, &via);
        assert_eq!(lab.records().len(), 2);
    }
    assert_eq!(origin.connections(), 0);
}

fn assert_failed(reply: &Reply, text: &str, via: &Via) {
    assert_eq!(reply.status, 502, "{reply:?}");
    assert!(reply.body.contains(text), "{} instead of {text}", reply.body);
    assert!(!reply.body.contains(&via.address.port().to_string()), "{}", reply.body);
    assert!(reply.header("proxy-authenticate").is_empty(), "{reply:?}");
}

#[test]
fn a_proxy_that_is_not_there_or_does_not_answer_is_told() {
    let origin = Origin::plain(echo);
    let silent = Via::start(origin.address, Manner::Silent);
    let mut setup = through(&silent, PrivateAccess::All);
    setup.options.timeouts = Timeouts { tunnel: Duration::from_millis(200), ..Timeouts::default() };
    let lab = Lab::start(setup);
    let mut client = lab.connect((A_TEST, 443)).tls(&lab.authority, Hello::to("c.test"));
    assert_failed(&client.get("c.test", "/"), "get its answer: none in time", &silent);

    // Bound but not listening: nobody else can take the port.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let gone = Via { address, heads: Arc::default() };
    let lab = Lab::start(through(&gone, PrivateAccess::All));
    for reply in [
        ask(&lab, "c.test", 80),
        lab.connect((A_TEST, 443)).tls(&lab.authority, Hello::to("c.test")).get("c.test", "/"),
    ] {
        assert_failed(&reply, "pass the upstream proxy: reach it: Connection refused", &gone);
    }
}
