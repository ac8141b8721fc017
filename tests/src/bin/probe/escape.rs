//! Acts that lead past a jail by the kernel's smaller doors.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;

use httpjail_tests::act::{Refusal, Step};
use httpjail_tests::sys::{self, Control};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use crate::arguments::{Arguments, PATIENCE};
use crate::datagram::sockaddr;
use crate::stream::answer;

/// sendto(2) with a loose source route whose first hop is the option `via`: the address that the
/// call is given is not the one that the packet goes to.
pub(crate) fn source_route(arguments: &Arguments) -> Result<Value, Refusal> {
    let target = arguments.address();
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).step("socket")?;
    sys::set_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_OPTIONS, &route(arguments))
        .step("IP_OPTIONS")?;
    socket.send_to(arguments.mark(), &target.into()).step("sendto")?;
    Ok(json!({ "sent": true }))
}

/// The same with the route in a control message.
pub(crate) fn source_route_control(arguments: &Arguments) -> Result<Value, Refusal> {
    let target = arguments.address();
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).step("socket")?;
    let route = route(arguments);
    let control = Control { level: libc::IPPROTO_IP, kind: libc::IP_RETOPTS, data: &route };
    sys::send_message(socket.as_fd(), arguments.mark(), &sockaddr(target), Some(&control), 0)
        .step("sendmsg")?;
    Ok(json!({ "sent": true }))
}

/// A no-operation, then the loose source route: type, length, pointer, one hop.
fn route(arguments: &Arguments) -> Vec<u8> {
    let via: Ipv4Addr = arguments.option("via").unwrap_or("127.0.0.1").parse().expect("IPv4");
    [&[1, 131, 7, 4][..], &via.octets()].concat()
}

/// connect(2) to the option `first`, dissolved by the address family 0, then sendto(2) elsewhere.
pub(crate) fn udp_reconnect(arguments: &Arguments) -> Result<Value, Refusal> {
    let (socket, target) = dissolved(arguments, Type::DGRAM)?;
    socket.send_to(arguments.mark(), &target.into()).step("sendto")?;
    Ok(json!({ "sent": true }))
}

/// The same with a stream, which is connected again.
pub(crate) fn tcp_reconnect(arguments: &Arguments) -> Result<Value, Refusal> {
    let (socket, target) = dissolved(arguments, Type::STREAM)?;
    socket.connect_timeout(&target.into(), PATIENCE).step("connect")?;
    socket.send(arguments.mark()).step("send")?;
    answer(socket)
}

fn dissolved(arguments: &Arguments, kind: Type) -> Result<(Socket, SocketAddr), Refusal> {
    let target = arguments.address();
    let first = arguments.option("first").expect("a first address");
    let first: SocketAddr = first.parse().expect("ADDRESS:PORT");
    let socket = Socket::new(Domain::for_address(target), kind, None).step("socket")?;
    socket.connect_timeout(&first.into(), PATIENCE).step("first connect")?;
    sys::connect(socket.as_fd(), &[0; 16]).step("connect to no family")?;
    Ok((socket, target))
}

/// setsockopt(2) of a number: FAMILY (4 or 6) LEVEL NAME VALUE, on a stream.
pub(crate) fn option(arguments: &Arguments) -> Result<Value, Refusal> {
    let domain = if arguments.word(0) == "6" { Domain::IPV6 } else { Domain::IPV4 };
    let number = |index| arguments.word(index).parse::<i32>().expect("a number");
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).step("socket")?;
    sys::set_option(socket.as_fd(), number(1), number(2), &number(3).to_ne_bytes())
        .step("setsockopt")?;
    Ok(json!({ "set": true }))
}

/// Opens a file for writing, and writes nothing.
pub(crate) fn open(arguments: &Arguments) -> Result<Value, Refusal> {
    OpenOptions::new().write(true).open(arguments.word(0)).step("open")?;
    Ok(json!({ "open": true }))
}

/// Opens a file for reading, and reads nothing.
pub(crate) fn open_read(arguments: &Arguments) -> Result<Value, Refusal> {
    std::fs::File::open(arguments.word(0)).step("open")?;
    Ok(json!({ "open": true }))
}

/// Types a line into the terminal of the standard input.
pub(crate) fn type_in(arguments: &Arguments) -> Result<Value, Refusal> {
    for key in arguments.word(0).bytes().chain([b'\n']) {
        sys::type_key(std::io::stdin().as_fd(), key).step("TIOCSTI")?;
    }
    Ok(json!({ "typed": true }))
}

/// Has a child born in the cgroup of the first word; the child ends at once.
pub(crate) fn clone_into(arguments: &Arguments) -> Result<Value, Refusal> {
    let cgroup = std::fs::File::open(arguments.word(0)).step("open")?;
    sys::clone_into(cgroup.as_fd()).step("clone3")?;
    Ok(json!({ "born": true }))
}

/// Looks for the programs that are loaded into the kernel.
pub(crate) fn bpf(_: &Arguments) -> Result<Value, Refusal> {
    Ok(json!({ "first": sys::first_program().step("bpf")? }))
}

/// Makes a socket of VM sockets' family by the system calls of 32-bit programs.
pub(crate) fn foreign_socket(_: &Arguments) -> Result<Value, Refusal> {
    sys::foreign_socket(libc::AF_VSOCK, libc::SOCK_STREAM).step("int 0x80")?;
    Ok(json!({ "made": true }))
}
