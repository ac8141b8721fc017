//! TCP and its relatives.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;

use httpjail_tests::act::{Refusal, Step};
use httpjail_tests::sys;
use serde_json::{Value, json};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::arguments::{Arguments, PATIENCE};

/// Connects, sends the mark if there is one, and reads what comes back.
///
/// Options: `mark`, `bind-device`, `unicast-device`, `source`, `mapped` (a v4 address by a v6 socket).
pub(crate) fn tcp(arguments: &Arguments) -> Result<Value, Refusal> {
    let target = mapped(arguments);
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None).step("socket")?;
    apply(arguments, &socket, target)?;
    converse(arguments, socket, target)
}

/// The same by MPTCP.
pub(crate) fn mptcp(arguments: &Arguments) -> Result<Value, Refusal> {
    let target = mapped(arguments);
    let domain = Domain::for_address(target);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::MPTCP)).step("socket")?;
    converse(arguments, socket, target)
}

/// Sends the mark within the SYN, without asking for a cookie first. Options as for [`tcp`].
pub(crate) fn fast_open(arguments: &Arguments) -> Result<Value, Refusal> {
    let target = arguments.address();
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None).step("socket")?;
    let on = 1_i32.to_ne_bytes();
    sys::set_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_FASTOPEN_NO_COOKIE, &on)
        .step("TCP_FASTOPEN_NO_COOKIE")?;
    apply(arguments, &socket, target)?;
    let address = SockAddr::from(target);
    socket
        .send_to_with_flags(arguments.mark(), &address, libc::MSG_FASTOPEN)
        .step("sendto MSG_FASTOPEN")?;
    answer(socket)
}

/// Connects through a segment routing header whose first segment is the option `via`: the address
/// that connect(2) is given is not the one that the packets go to.
pub(crate) fn routing_header(arguments: &Arguments) -> Result<Value, Refusal> {
    let target = arguments.address();
    let via: std::net::Ipv6Addr = arguments.option("via").unwrap_or("::1").parse().expect("IPv6");
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None).step("socket")?;
    sys::set_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_RTHDR, &segments(via))
        .step("IPV6_RTHDR")?;
    socket.connect_timeout(&target.into(), PATIENCE).step("connect")?;
    answer(socket)
}

/// Next header, length in eight bytes, type 4, segments left, last entry, flags, tag; then the
/// segments backwards, of which the kernel fills in the last one by itself.
fn segments(via: std::net::Ipv6Addr) -> Vec<u8> {
    let mut header = vec![0, 4, 4, 1, 1, 0, 0, 0];
    header.extend([0; 16]);
    header.extend(via.octets());
    header
}

fn converse(arguments: &Arguments, socket: Socket, target: SocketAddr) -> Result<Value, Refusal> {
    socket.connect_timeout(&target.into(), PATIENCE).step("connect")?;
    let mut socket = socket;
    if arguments.option("mark").is_some() {
        socket.write_all(arguments.mark()).step("send")?;
    }
    answer(socket)
}

/// What comes back until a newline, the end, a reset or [`PATIENCE`].
pub(crate) fn answer(mut socket: Socket) -> Result<Value, Refusal> {
    let peer = socket.peer_addr().ok().and_then(|peer| peer.as_socket());
    socket.set_read_timeout(Some(PATIENCE)).step("setsockopt")?;
    let mut reply = Vec::new();
    let mut buffer = [0; 4096];
    let ending = loop {
        match socket.read(&mut buffer) {
            Ok(0) => break "end",
            Ok(length) => reply.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break "reset",
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break "silence",
            Err(error) => return Err(Refusal("read", error)),
        }
        if reply.contains(&b'\n') {
            break "line";
        }
    };
    let reply = String::from_utf8_lossy(&reply).into_owned();
    Ok(json!({ "reply": reply, "ending": ending, "peer": peer.map(|peer| peer.to_string()) }))
}

/// The first word, as `::ffff:a.b.c.d` when the option `mapped` is there.
pub(crate) fn mapped(arguments: &Arguments) -> SocketAddr {
    match (arguments.option("mapped"), arguments.address()) {
        (Some(_), SocketAddr::V4(v4)) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        (_, address) => address,
    }
}

/// Sets what the options say about the socket's way out.
pub(crate) fn apply(args: &Arguments, socket: &Socket, target: SocketAddr) -> Result<(), Refusal> {
    if let Some(device) = args.option("bind-device") {
        socket.bind_device(Some(device.as_bytes())).step("SO_BINDTODEVICE")?;
    }
    if let Some(device) = args.option("unicast-device") {
        let index = sys::interface_index(device).step("if_nametoindex")?.to_be_bytes();
        let (level, name) = match target {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_UNICAST_IF),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_IF),
        };
        sys::set_option(socket.as_fd(), level, name, &index).step("IP_UNICAST_IF")?;
    }
    if let Some(source) = args.option("free-source") {
        let source: SocketAddr = source.parse().expect("the source is ADDRESS:PORT");
        let (level, name) = match source {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_FREEBIND),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND),
        };
        let on = 1_i32.to_ne_bytes();
        sys::set_option(socket.as_fd(), level, name, &on).step("IP_FREEBIND")?;
        socket.bind(&source.into()).step("bind")?;
    }
    if let Some(source) = args.option("source") {
        let source: SocketAddr = source.parse().expect("the source is ADDRESS:PORT");
        socket.bind(&source.into()).step("bind")?;
    }
    Ok(())
}
