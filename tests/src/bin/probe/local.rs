//! Servers: for clients outside, and for clients of the same jail.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use httpjail_tests::act::{Refusal, Step};
use serde_json::{Value, json};

use crate::arguments::{Arguments, PATIENCE};

const QUESTION: &[u8] = b"in the jail?\n";

/// Listens at the first word, says so, and counts whom it accepts until its standard input ends.
pub(crate) fn listen(arguments: &Arguments) -> Result<Value, Refusal> {
    let listener = TcpListener::bind(arguments.address()).step("listen")?;
    announce(listener.local_addr().step("getsockname")?);
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            counter.fetch_add(1, Ordering::SeqCst);
            drop(client.write_all(b"hello from the listener\n"));
        }
    });
    wait_for_end_of_input();
    Ok(json!({ "accepted": accepted.load(Ordering::SeqCst) }))
}

/// Waits at the first word for datagrams, answers them, and counts them until its input ends.
pub(crate) fn listen_udp(arguments: &Arguments) -> Result<Value, Refusal> {
    let socket = UdpSocket::bind(arguments.address()).step("bind")?;
    announce(socket.local_addr().step("getsockname")?);
    let received = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&received);
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            counter.fetch_add(1, Ordering::SeqCst);
            drop(socket.send_to(buffer.get(..length).unwrap_or_default(), client));
        }
    });
    wait_for_end_of_input();
    Ok(json!({ "accepted": received.load(Ordering::SeqCst) }))
}

/// Listens at the first word and connects there (or to the option `to`, with the listener's port)
/// from the same process.
pub(crate) fn pair(arguments: &Arguments) -> Result<Value, Refusal> {
    let listener = TcpListener::bind(arguments.address()).step("listen")?;
    let port = listener.local_addr().step("getsockname")?.port();
    let target = target(arguments, port);
    let server =
        std::thread::spawn(move || listener.accept().and_then(|(client, _)| echo_one(client)));
    let client = TcpStream::connect_timeout(&target, PATIENCE).step("connect")?;
    let peer = client.peer_addr().step("getpeername")?;
    let reply = ask(client)?;
    server.join().expect("the server doesn't panic").step("accept")?;
    Ok(json!({ "reply": reply, "peer": peer.to_string() }))
}

/// The same with datagrams.
pub(crate) fn pair_udp(arguments: &Arguments) -> Result<Value, Refusal> {
    let server = UdpSocket::bind(arguments.address()).step("bind")?;
    let port = server.local_addr().step("getsockname")?.port();
    let target = target(arguments, port);
    let client = UdpSocket::bind(SocketAddr::new(any(target), 0)).step("bind")?;
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(PATIENCE)).step("setsockopt")?;
    }
    client.send_to(QUESTION, target).step("sendto")?;
    let mut buffer = [0; 64];
    let (length, from) = server.recv_from(&mut buffer).step("recvfrom")?;
    server.send_to(buffer.get(..length).unwrap_or_default(), from).step("answer")?;
    let (length, peer) = client.recv_from(&mut buffer).step("recvfrom answer")?;
    let reply = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
    Ok(json!({ "reply": reply, "peer": peer.to_string() }))
}

/// Asks a listener of another process at the first word for its line.
pub(crate) fn echo(arguments: &Arguments) -> Result<Value, Refusal> {
    let client = TcpStream::connect_timeout(&arguments.address(), PATIENCE).step("connect")?;
    let reply = ask(client)?;
    Ok(json!({ "reply": reply }))
}

fn target(arguments: &Arguments, port: u16) -> SocketAddr {
    let mut target = match arguments.option("to") {
        Some(to) => SocketAddr::new(to.parse().expect("an address"), port),
        None => arguments.address(),
    };
    target.set_port(port);
    target
}

fn any(target: SocketAddr) -> std::net::IpAddr {
    match target {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn ask(mut client: TcpStream) -> Result<String, Refusal> {
    client.set_read_timeout(Some(PATIENCE)).step("setsockopt")?;
    client.write_all(QUESTION).step("send")?;
    let mut reply = [0; 64];
    let length = client.read(&mut reply).step("read")?;
    Ok(String::from_utf8_lossy(reply.get(..length).unwrap_or_default()).into_owned())
}

fn echo_one(mut client: TcpStream) -> io::Result<()> {
    let mut question = [0; 64];
    let length = client.read(&mut question)?;
    client.write_all(question.get(..length).unwrap_or_default())
}

fn announce(address: SocketAddr) {
    println!("{}", json!({ "listening": address.to_string(), "port": address.port() }));
}

fn wait_for_end_of_input() {
    drop(io::copy(&mut io::stdin(), &mut io::sink())); // An error is an end as well.
}
