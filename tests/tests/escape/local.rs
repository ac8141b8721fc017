//! Ways over the machine's own addresses: its services, connections from outside, other jails, the
//! proxy itself.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use httpjail_tests::addresses::{CLIENT_V4, CLIENT_V6};
use httpjail_tests::{Lab, Running, programs};

use crate::trial::Who;

/// How long a peer outside knocks at a listener in the jail.
const KNOCK: Duration = Duration::from_millis(1500);
const GREETING: &str = "hello from the listener";

/// All the ways to name this machine, with the probe's option for a v4-mapped address.
fn own_names(port: u16) -> Vec<Vec<String>> {
    let own = [IpAddr::from(CLIENT_V4), CLIENT_V6.into()];
    let own = own.map(|address| SocketAddr::new(address, port).to_string());
    let names = ["127.0.0.1", "[::1]", "0.0.0.0", "[::]", "127.9.9.9", "localhost"];
    let names = names.map(|name| format!("{name}:{port}")).into_iter().chain(own);
    let mapped = vec![format!("127.0.0.1:{port}"), "--mapped".to_owned(), "yes".to_owned()];
    names.map(|name| vec![name]).chain([mapped]).collect()
}

fn act<'a>(words: &[&'a str], name: &'a [String]) -> Vec<&'a str> {
    words.iter().copied().chain(name.iter().map(String::as_str)).collect()
}

#[test]
fn a17_loopback_services() {
    let lab = Lab::new();
    let server = lab.outside().start_probe(["listen", "[::]:7002"]);
    server.line("listening");
    let names = own_names(7002);
    for name in &names {
        let act = [act(&["tcp"], name), vec!["--mark", "hello\n"]].concat();
        let twin = Who::User.outside(&lab).probe(&act).exits(0);
        assert!(twin.stdout.contains(GREETING), "{name:?}: {twin:?}");
        for who in Who::BOTH {
            let jailed = who.jail(&lab).probe(&act).exits(0);
            assert!(!jailed.stdout.contains(GREETING), "{name:?} as {who:?}: {jailed:?}");
        }
    }
    let seen = server.finish().exits(0).report();
    assert_eq!(seen["seen"]["accepted"], names.len(), "the twins' alone");
    lab.assert_clean();
}

#[test]
fn a17_loopback_services_of_datagrams() {
    let lab = Lab::new();
    let server = lab.outside().start_probe(["listen-udp", "[::]:7003"]);
    server.line("listening");
    let names = own_names(7003);
    for name in &names {
        let act = act(&["udp-send-to"], name);
        Who::User.outside(&lab).probe(&act).exits(0);
        for who in Who::BOTH {
            let jailed = who.jail(&lab).probe(&act).exits(0).report();
            assert_eq!(jailed["ok"], false, "{name:?} as {who:?}: {jailed}");
        }
    }
    let seen = server.finish().exits(0).report();
    assert_eq!(seen["seen"]["accepted"], names.len(), "the twins' alone");
    lab.assert_clean();
}

/// Whether a peer at the origins is answered by a listener of the client's namespace.
fn knock(lab: &Lab, protocol: &str, address: SocketAddr) -> io::Result<()> {
    if protocol == "listen" {
        return lab.at_origins(move || TcpStream::connect_timeout(&address, KNOCK).map(drop));
    }
    lab.at_origins(move || {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(KNOCK))?;
        socket.send_to(b"knock", address)?;
        socket.recv(&mut [0; 16]).map(drop)
    })
}

#[test]
fn a19_inbound_connections() {
    let lab = Lab::new();
    for protocol in ["listen", "listen-udp"] {
        for own in [IpAddr::from(CLIENT_V4), CLIENT_V6.into()] {
            let address = SocketAddr::new(own, 7000);
            let listen = [protocol, &address.to_string()];
            let outside = Who::User.outside(&lab).start_probe(listen);
            outside.line("listening");
            knock(&lab, protocol, address).expect("the unjailed listener is reached");
            outside.finish().exits(0);
            for who in Who::BOTH {
                lab.assert_silent(|| {
                    let jailed = who.jail(&lab).start_probe(listen);
                    jailed.line("listening");
                    knock(&lab, protocol, address).expect_err("the jailed listener is not");
                    assert_eq!(jailed.finish().exits(0).report()["seen"]["accepted"], 0);
                });
            }
        }
    }
    lab.assert_clean();
}

/// Where proxies of the lab's jails listen.
fn proxies(lab: &Lab) -> Vec<String> {
    let listening = lab.outside().sh("ss -Htln | awk '{print $4}'").exits(0).stdout;
    assert!(!listening.is_empty(), "the proxy listens on the loopback");
    listening.lines().map(str::to_owned).collect()
}

/// A jail whose shell waits for a line and then does what the script says.
fn waiting(lab: &Lab, who: Who, rule: &str, script: &str) -> Running {
    let jail = who.jail_by(lab, rule);
    let running = jail.start(["sh", "-c", &format!("echo ready; read -r line; {script}")]);
    running.line("ready");
    running
}

#[test]
fn b23_another_jails_listener_and_proxy() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    for who in Who::BOTH {
        let server = who.jail(&lab).start_probe(["listen", "127.0.0.1:7001"]);
        server.line("listening");
        // All that listens: the other jail's server and its proxy, under whose rule all is allowed.
        for address in proxies(&lab) {
            let curl = ["curl", "-gsS", "-m", "10", "-x", &address, "http://a.test/"];
            let asked = who.jail_by(&lab, "false").run(curl);
            assert!(!asked.stdout.contains(GREETING), "{address}: {asked:?}");
            assert!(!asked.stdout.contains("hello from a.test"), "{address}: {asked:?}");
        }
        let seen = server.finish().exits(0);
        assert_eq!(seen.report()["seen"]["accepted"], 0);
        assert!(seen.log.is_empty(), "another jail's request was judged by this one's rule");
    }
    assert_eq!(a.seen().len(), 0);
    Who::User.jail(&lab).run(["curl", "-sS", "http://a.test/"]).exits(0);
    assert_eq!(a.seen().len(), 1, "by a jail of its own it is reached");
    lab.assert_clean();
}

#[test]
fn b26_the_proxy_from_outside() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let mut jailed = waiting(&lab, Who::User, "true", "curl -sS http://a.test/");
    for address in proxies(&lab) {
        for who in Who::BOTH {
            let curl = ["curl", "-gsS", "-m", "10", "-x", &address, "http://a.test/"];
            let stranger = who.outside(&lab).run(curl);
            assert_ne!(stranger.code, Some(0), "{who:?} was served: {stranger:?}");
            assert_eq!(stranger.stdout, "");
        }
    }
    jailed.write("\n");
    let jailed = jailed.finish().exits(0);
    assert_eq!(jailed.stdout, "ready\nhello from a.test\n", "the jail is served");
    assert_eq!(jailed.log.len(), 1, "a stranger's request was judged: {jailed:?}");
    assert_eq!(a.seen().len(), 1);
    lab.assert_clean();
}

/// Asked for as a proxy, it judges by the same rule, and never asks itself.
#[test]
fn b27_the_proxy_from_inside() {
    let lab = Lab::new();
    let b = lab.origin("b.test");
    Who::User.outside(&lab).run(["curl", "-sS", "http://b.test/"]).exits(0);
    let script = "for proxy in $line; do for url in http://b.test/ http://$proxy/; do
        curl -gsS -o /dev/null -m 10 -w '%{http_code}\\n' -x $proxy $url; done; done; :";
    for who in Who::BOTH {
        let mut jailed = waiting(&lab, who, "r.host !== 'b.test'", script);
        let proxies = proxies(&lab);
        jailed.write(&format!("{}\n", proxies.join(" ")));
        let jailed = jailed.finish().exits(0);
        assert_eq!(jailed.stdout.lines().count(), 1 + 2 * proxies.len(), "{jailed:?}");
        assert!(!jailed.stdout.contains("200"), "{who:?}: {jailed:?}");
    }
    assert_eq!(b.seen().len(), 1, "the twin's alone");
    lab.assert_clean();
}

/// A jail of the jailed command's own would be under its own rule.
#[test]
fn b24_a_jail_in_a_jail() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    // Where every user may run it, as nobody's folders are in the way.
    let own = lab.home().join("httpjail");
    std::fs::copy(programs::httpjail(), &own).expect("it can be copied");
    let own = own.to_str().expect("UTF-8");
    let command = [own, "--js", "true", "--", "curl", "-sS", "http://a.test/"];
    lab.outside().run(command).exits(0);
    assert_eq!(a.seen().len(), 1, "without a jail it is reached");
    for who in Who::BOTH {
        let refused = who.jail_by(&lab, "false").run(command).exits(125);
        assert!(refused.stderr.contains("httpjail"), "{who:?}: {refused:?}");
    }
    assert_eq!(a.seen().len(), 1, "the twin's alone");
    lab.assert_clean();
}

/// Two sockets on one source port, and one port used again at once after a reset: no connection is
/// taken for another that may do more.
const PORTS: &str = r#"
import socket, struct, sys
def new():
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    client.settimeout(5)
    client.bind(("0.0.0.0", 5555))
    return client
def ask(client, address, host, connected=False):
    try:
        if not connected: client.connect((address, 80))
        client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        print(host, client.recv(1000).split()[1].decode())
    except OSError:
        print(host, "refused")
a, b = sys.argv[1:]
first, second = new(), new()
ask(first, a, "a.test")
ask(second, b, "b.test")
ask(first, a, "b.test", True)
for client in first, second:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
ask(new(), b, "b.test")
"#;

#[test]
fn b28_source_ports_used_again() {
    let lab = Lab::new();
    let (a, b) = (lab.origin("a.test"), lab.origin("b.test"));
    let (to_a, to_b) = (a.v4().to_string(), b.v4().to_string());
    let command = ["python3", "-c", PORTS, &to_a, &to_b];
    let twin = Who::User.outside(&lab).run(command).exits(0);
    assert_eq!(twin.stdout, "a.test 200\nb.test 200\nb.test 200\nb.test 200\n");
    let seen = b.seen().len();
    for who in Who::BOTH {
        let jailed = who.jail_by(&lab, "r.host === 'a.test'").run(command).exits(0);
        assert!(jailed.stdout.starts_with("a.test 200\n"), "{jailed:?}");
        assert!(!jailed.stdout.contains("b.test 200"), "{jailed:?}");
        let allowed: Vec<_> = jailed.log.iter().filter(|line| line.starts_with('+')).collect();
        assert_eq!(allowed, ["+ GET http://a.test/"], "{jailed:?}");
    }
    assert_eq!(b.seen().len(), seen, "a request to b.test got out");
    lab.assert_clean();
}

/// A service that shares its port, and has a program choose the service among the port's sockets.
/// It says at the end of its input how often which word came.
const SHARING: &str = r#"
import collections, ctypes, select, socket, struct, sys
kind, host = sys.argv[1:]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
server = socket.socket(family, getattr(socket, kind))
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
server.bind((host, 7005))
if kind == "SOCK_STREAM":
    server.setsockopt(socket.IPPROTO_TCP, 23, 64) # TCP_FASTOPEN
    server.setsockopt(socket.IPPROTO_TCP, 34, 1) # TCP_FASTOPEN_NO_COOKIE
    server.listen(64)
first = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0)) # return 0
program = struct.pack("HxxxxxxQ", 1, ctypes.addressof(first))
server.setsockopt(socket.SOL_SOCKET, 51, program) # SO_ATTACH_REUSEPORT_CBPF
server.setblocking(False)
print("listening", flush=True)
came = collections.Counter()
while True:
    ready = select.select([server, sys.stdin], [], [])[0]
    if server not in ready: break
    if kind == "SOCK_STREAM":
        client = server.accept()[0]
        client.setblocking(False)
        try: came[client.recv(100).decode()] += 1
        except BlockingIOError: pass
    else:
        came[server.recv(100).decode()] += 1
print(dict(came))
"#;

/// Shares the port by many sockets, so that a look-up mostly finds one of them, and sends a word to it
/// many times.
const INTRUDING: &str = r#"
import socket, sys
kind, host, word = sys.argv[1:]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
servers = []
for _ in range(20):
    server = socket.socket(family, getattr(socket, kind))
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.bind((host, 7005))
    if kind == "SOCK_STREAM": server.listen()
    servers.append(server)
sent = 0
for _ in range(20):
    client = socket.socket(family, getattr(socket, kind))
    client.setblocking(False)
    try:
        if kind == "SOCK_STREAM":
            client.setsockopt(socket.IPPROTO_TCP, 34, 1)
            client.sendto(word.encode(), 0x20000000, (host, 7005)) # MSG_FASTOPEN
        else:
            client.sendto(word.encode(), (host, 7005))
        sent += 1
    except OSError: pass
    servers.append(client)
print("sent", sent)
"#;

/// Programs of one user may share a port, and a program of the service's chooses who gets what comes:
/// a look-up can't tell.
#[test]
fn a17_a_shared_port() {
    let lab = Lab::new();
    let fast_open = "/proc/sys/net/ipv4/tcp_fastopen";
    lab.at_client(move || std::fs::write(fast_open, "3")).expect("root may");
    for kind in ["SOCK_STREAM", "SOCK_DGRAM"] {
        for host in ["127.0.0.1", "::1"] {
            for who in Who::BOTH {
                let service = who.outside(&lab).start(["python3", "-c", SHARING, kind, host]);
                service.line("listening");
                let intrude = |word| ["python3", "-c", INTRUDING, kind, host, word];
                who.outside(&lab).run(intrude("free")).exits(0);
                who.jail(&lab).run(intrude("jailed")).exits(0);
                let came = service.finish().exits(0).stdout;
                assert!(came.contains("'free'"), "{kind} {host} {who:?}, no twin: {came}");
                assert!(!came.contains("'jailed'"), "{kind} {host} {who:?}: {came}");
            }
        }
    }
    lab.assert_clean();
}

/// Where all sockets of the port are the jail's, what is sent comes to one of them.
#[test]
fn servers_of_the_jail_that_share_a_port_are_reached() {
    const OWN: &str = r#"
import select, socket
def new():
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    server.setsockopt(socket.IPPROTO_TCP, 23, 64)
    server.bind(("127.0.0.1", 7005))
    server.listen()
    return server
servers = [new(), new()]
for early in False, True:
    client = socket.socket()
    if early:
        client.setsockopt(socket.IPPROTO_TCP, 34, 1)
        client.sendto(b"word", 0x20000000, ("127.0.0.1", 7005))
    else:
        client.connect(("127.0.0.1", 7005))
        client.send(b"word")
    ready = select.select(servers, [], [], 10)[0]
    print(ready[0].accept()[0].recv(4).decode())
"#;
    let lab = Lab::new();
    for place in [lab.outside(), lab.jail(), lab.jail().as_user()] {
        assert_eq!(place.run(["python3", "-c", OWN]).exits(0).stdout, "word\nword\n");
    }
    lab.assert_clean();
}
