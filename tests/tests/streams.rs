//! Standard streams that are sockets, as inetd, socat, ssh and node give them: they work in a jail
//! as they do without, and the command never holds one from outside.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Stdio;

use httpjail_tests::{Invocation, Lab, USER_UID, addresses::CLIENT_V4};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::process::Signal;

/// The two ends of a connection: the stranger's, and what the command is to have.
fn tcp(lab: &Lab) -> (TcpStream, TcpStream) {
    lab.at_client(|| {
        let listener = TcpListener::bind((CLIENT_V4, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let stranger = TcpStream::connect(address).expect("it listens");
        (stranger, listener.accept().expect("a client").0)
    })
}

fn stdio(descriptor: impl AsFd) -> Stdio {
    Stdio::from(descriptor.as_fd().try_clone_to_owned().expect("a free descriptor"))
}

/// The same socket three times.
fn thrice(socket: impl Into<OwnedFd>) -> [Stdio; 3] {
    let socket = socket.into();
    [stdio(&socket), stdio(&socket), stdio(&socket)]
}

fn all(mut stream: impl Read) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it is text, and ends");
    text
}

fn places(lab: &Lab) -> [Invocation<'_>; 3] {
    [lab.outside(), lab.jail(), lab.jail().as_user()]
}

#[test]
fn a_connection_serves_as_all_three() {
    let lab = Lab::new();
    let script = "read line; echo got $line; echo aside >&2; cat; exit 7";
    for place in places(&lab) {
        let (mut stranger, socket) = tcp(&lab);
        let running = place.start_on(thrice(socket), ["sh", "-c", script]);
        stranger.write_all(b"hello\nand all\n").expect("it reads");
        // The other direction stays open.
        stranger.shutdown(Shutdown::Write).expect("it is connected");
        assert_eq!(all(&stranger), "got hello\naside\nand all\n");
        running.finish().exits(7);
    }
    lab.assert_clean();
}

#[test]
fn each_stream_may_be_a_socket_of_its_own() {
    let lab = Lab::new();
    let script = "cat; echo done >&2";
    for place in places(&lab) {
        let [(mut feeds, stdin), (reads, stdout), (hears, stderr)] =
            [(); 3].map(|()| UnixStream::pair().expect("a pair"));
        let streams = [stdio(&stdin), stdio(&stdout), stdio(&stderr)];
        drop((stdin, stdout, stderr));
        let running = place.start_on(streams, ["sh", "-c", script]);
        feeds.write_all(b"fed").expect("it reads");
        drop(feeds);
        running.finish().exits(0);
        assert_eq!((all(reads), all(hears)), ("fed".to_owned(), "done\n".to_owned()));
    }
    lab.assert_clean();
}

/// More than all buffers hold, to a reader that starts late.
#[test]
fn all_is_delivered_before_the_end() {
    let lab = Lab::new();
    let script = "head -c 8000000 /dev/zero; exit 3";
    for place in places(&lab) {
        let (mut stranger, socket) = tcp(&lab);
        let streams = [Stdio::null(), stdio(&socket), Stdio::piped()];
        drop(socket);
        let running = place.start_on(streams, ["sh", "-c", script]);
        let mut first = [0; 1];
        stranger.read_exact(&mut first).expect("it writes");
        let length = std::io::copy(&mut stranger, &mut std::io::sink()).expect("it ends");
        assert_eq!(length, 7_999_999);
        running.finish().exits(3);
    }
    lab.assert_clean();
}

/// The command has written and ended; the rest is in httpjail's hands.
#[test]
fn output_waits_for_its_reader_and_a_signal_ends_the_wait() {
    let lab = Lab::new();
    // As much as the relay and the kernel take together on the command's side, so that it can end.
    let script = "head -c 100000 /dev/zero; echo over >&2";
    for reads in [true, false] {
        let (mut stranger, socket) = UnixStream::pair().expect("a pair");
        // It takes next to nothing for a reader that doesn't read.
        set_socket_send_buffer_size(&socket, 1).expect("a socket");
        let streams = [Stdio::null(), stdio(&socket), Stdio::piped()];
        drop(socket);
        let running = lab.jail().start_on(streams, ["sh", "-c", script]);
        running.error_line("over");
        if reads {
            let length = std::io::copy(&mut stranger, &mut std::io::sink()).expect("it ends");
            assert_eq!(length, 100_000);
            assert_eq!(running.finish().exits(0).stderr, "over\n");
            continue;
        }
        // The jail is gone, and the wait has begun.
        while !lab.jails().is_empty() {
            std::thread::yield_now();
        }
        running.signal(Signal::TERM);
        let finished = running.finish().exits(0);
        assert!(finished.stderr.contains("is lost"), "{finished:?}");
    }
    lab.assert_clean();
}

#[test]
fn a_command_without_a_reader_is_told_so() {
    let lab = Lab::new();
    let script = "trap '' PIPE; read line; while echo x; do :; done 2> /dev/null; exit 9";
    for place in places(&lab) {
        let (stranger, socket) = tcp(&lab);
        let running = place.start_on(thrice(socket), ["sh", "-c", script]);
        drop(stranger);
        running.finish().exits(9);
    }
    lab.assert_clean();
}

/// What is done to descriptor 0, and what came of it.
const TAKE_OVER: &str = r#"
import array, os, socket, sys
stream = socket.socket(fileno=0)
def say(name, act):
    try: print(name, act(), file=sys.stderr)
    except OSError as error: print(name, "refused", file=sys.stderr)
say("family", lambda: stream.family.name)
say("option", lambda: stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1))
def elsewhere():
    # AF_UNSPEC takes the connection apart.
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.connect(0, b"\0" * 16, 16): raise OSError()
    stream.connect((sys.argv[1], int(sys.argv[2])))
    return stream.recv(100).decode()
say("elsewhere", elsewhere)
"#;

#[test]
fn the_connection_outside_cannot_be_led_elsewhere() {
    let lab = Lab::new();
    let target = lab.at_client(|| {
        let listener = TcpListener::bind((CLIENT_V4, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                client.write_all(b"reached").ok();
            }
        });
        address
    });
    let SocketAddr::V4(target) = target else { unreachable!("it was bound to IPv4") };
    let (host, port) = (target.ip().to_string(), target.port().to_string());
    let said = |place: &Invocation<'_>| {
        let (_stranger, socket) = tcp(&lab);
        let streams = [stdio(&socket), Stdio::null(), Stdio::piped()];
        drop(socket);
        let command = ["python3", "-c", TAKE_OVER, &host, &port];
        place.start_on(streams, command).finish().exits(0).stderr
    };
    let twin = "family AF_INET\noption None\nelsewhere reached\n";
    assert_eq!(said(&lab.outside()), twin, "without a jail");
    for jail in [lab.jail(), lab.jail().as_user()] {
        assert_eq!(said(&jail), "family AF_UNIX\noption refused\nelsewhere refused\n");
    }
    lab.assert_clean();
}

/// Receives a byte, and says how many descriptors came with it; then sends one of its own.
const PASS: &str = r#"
import array, socket, sys
stream = socket.socket(fileno=0)
space = socket.CMSG_SPACE(4)
word, ancillary, flags, peer = stream.recvmsg(1, space)
print(word.decode(), len(ancillary), file=sys.stderr, flush=True)
own = socket.socket()
rights = array.array("i", [own.fileno()])
stream.sendmsg([b"y"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
"#;

#[test]
fn no_descriptor_passes_through() {
    use rustix::net::{
        RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    };
    let lab = Lab::new();
    let passed = |place: Invocation<'_>| {
        let (stranger, socket) = UnixStream::pair().expect("a pair");
        let streams = [stdio(&socket), Stdio::null(), Stdio::piped()];
        drop(socket);
        let running = place.start_on(streams, ["python3", "-c", PASS]);
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let gift = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let gifts = [gift.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&gifts)));
        let word = [std::io::IoSlice::new(b"x")];
        sendmsg(&stranger, &word, &mut ancillary, SendFlags::empty()).expect("it is connected");
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut answer = [0];
        let mut into = [std::io::IoSliceMut::new(&mut answer)];
        recvmsg(&stranger, &mut into, &mut ancillary, RecvFlags::empty()).expect("an answer");
        let came_out = ancillary.drain().count();
        assert_eq!(&answer, b"y");
        (running.finish().exits(0).stderr, came_out)
    };
    assert_eq!(passed(lab.outside()), ("x 1\n".to_owned(), 1), "without a jail");
    for jail in [lab.jail(), lab.jail().as_user()] {
        assert_eq!(passed(jail), ("x 0\n".to_owned(), 0));
    }
    lab.assert_clean();
}

#[test]
fn refuses_what_is_no_stream_of_a_client() {
    let lab = Lab::new();
    let path = lab.home().join("service");
    let listener = UnixListener::bind(&path).expect("the home is there");
    let service = UnixStream::connect(&path).expect("it listens");
    let datagrams = lab.at_client(|| UdpSocket::bind("127.0.0.1:0").expect("a free port"));
    let pair = UnixDatagram::pair().expect("a pair").0;
    for (socket, says) in [
        (stdio(&datagrams), "messages (datagrams)"),
        (stdio(&pair), "messages (datagrams)"),
        (stdio(&listener), "a socket that listens"),
        (stdio(&service), "a Unix socket of a service"),
    ] {
        let streams = [socket, Stdio::null(), Stdio::piped()];
        let refused = lab.jail().start_on(streams, ["true"]).finish().exits(125);
        assert!(refused.stderr.contains(says), "{refused:?}");
        assert!(refused.stderr.contains("put a pipe between"), "{refused:?}");
    }
    // Those of who connected to a service of ours, as socket activation gives them.
    let accepted = listener.accept().expect("it was connected to").0;
    let running = lab.jail().start_on(thrice(accepted), ["echo", "hello"]);
    assert_eq!(all(service), "hello\n");
    running.finish().exits(0);
    lab.assert_clean();
}

#[test]
fn the_relay_has_no_privileges_and_is_there_for_sockets_alone() {
    let lab = Lab::new();
    let names = |parent: u32| {
        let children = format!("/proc/{parent}/task/{parent}/children");
        let children = std::fs::read_to_string(children).expect("a living process");
        let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
        children
            .split_whitespace()
            .filter_map(|pid| Some((name(pid)?.trim().to_owned(), pid.to_owned())))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let mut plain = lab.jail().start(["sh", "-c", "echo ready; read line"]);
    plain.line("ready");
    assert!(!names(plain.pid()).contains_key("httpjail-relay"));
    plain.close_stdin();
    plain.finish().exits(1);

    let (mut stranger, socket) = tcp(&lab);
    let streams = [stdio(&socket), stdio(&socket), Stdio::piped()];
    drop(socket);
    let running = lab.jail().start_on(streams, ["sh", "-c", "echo ready; read line"]);
    let mut ready = [0; 6];
    stranger.read_exact(&mut ready).expect("it writes");
    let children = names(running.pid());
    let relay = children.get("httpjail-relay").expect("it carries");
    let status = std::fs::read_to_string(format!("/proc/{relay}/status")).expect("it lives");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap_or_default().to_owned()
    };
    assert_eq!(field("CapEff"), "0000000000000000");
    assert_eq!((field("Seccomp"), field("NoNewPrivs")), ("2".to_owned(), "1".to_owned()));
    let uid: u32 = field("Uid").split_whitespace().next().expect("four").parse().expect("a number");
    assert!(uid != 0 && uid != USER_UID, "{uid}");
    stranger.write_all(b"go\n").expect("it reads");
    running.finish().exits(0);
    lab.assert_clean();
}
