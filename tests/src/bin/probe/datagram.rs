//! UDP and its relatives.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;

use httpjail_tests::act::{Refusal, Step};
use httpjail_tests::sys::{self, Control};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use crate::arguments::Arguments;
use crate::stream::{apply, mapped};

/// connect(2), then send(2).
pub(crate) fn connect(arguments: &Arguments) -> Result<Value, Refusal> {
    let (socket, target) = open(arguments)?;
    socket.connect(&target.into()).step("connect")?;
    socket.send(arguments.mark()).step("send")?;
    sent()
}

/// sendto(2).
pub(crate) fn send_to(arguments: &Arguments) -> Result<Value, Refusal> {
    let (socket, target) = open(arguments)?;
    socket.send_to(arguments.mark(), &target.into()).step("sendto")?;
    sent()
}

/// connect(2) to one address (the option `first`), then sendto(2) to another.
pub(crate) fn connected_send_to(arguments: &Arguments) -> Result<Value, Refusal> {
    let (socket, target) = open(arguments)?;
    let first: SocketAddr =
        arguments.option("first").unwrap_or("45.67.89.53:53").parse().expect("first");
    socket.connect(&first.into()).step("connect")?;
    socket.send_to(arguments.mark(), &target.into()).step("sendto")?;
    sent()
}

/// sendto(2) with the address family 0, which the kernel takes for IPv4.
pub(crate) fn unspecified_family(arguments: &Arguments) -> Result<Value, Refusal> {
    let (socket, target) = open(arguments)?;
    let mut address = sockaddr(target);
    address[..2].fill(0);
    sys::send_message(socket.as_fd(), arguments.mark(), &address, None, 0).step("sendto")?;
    sent()
}

/// sendmsg(2) that names the interface of the option `device` in a control message.
pub(crate) fn packet_info(arguments: &Arguments) -> Result<Value, Refusal> {
    let (socket, target) = open(arguments)?;
    let index = sys::interface_index(arguments.option("device").unwrap_or("lo"));
    let index = index.step("if_nametoindex")?.to_ne_bytes();
    let (level, kind, data) = match target {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO, [&index[..], &[0; 8]].concat()),
        SocketAddr::V6(_) => {
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, [&[0; 16], &index[..]].concat())
        }
    };
    let control = Control { level, kind, data: &data };
    sys::send_message(socket.as_fd(), arguments.mark(), &sockaddr(target), Some(&control), 0)
        .step("sendmsg")?;
    sent()
}

/// sendto(2) to a group, out of the interface of the option `device`.
pub(crate) fn multicast(arguments: &Arguments) -> Result<Value, Refusal> {
    let (socket, target) = open(arguments)?;
    let index = sys::interface_index(arguments.option("device").unwrap_or("lo")).step("index")?;
    match target.ip() {
        IpAddr::V6(_) => socket.set_multicast_if_v6(index).step("IPV6_MULTICAST_IF")?,
        IpAddr::V4(_) => {
            let own: Ipv4Addr =
                arguments.option("source-address").unwrap_or("0.0.0.0").parse().expect("IPv4");
            socket.set_multicast_if_v4(&own).step("IP_MULTICAST_IF")?;
        }
    }
    socket.send_to(arguments.mark(), &target.into()).step("sendto")?;
    sent()
}

/// UDP-Lite: connect(2), then send(2).
pub(crate) fn udplite(arguments: &Arguments) -> Result<Value, Refusal> {
    let target = arguments.address();
    let protocol = Some(Protocol::UDPLITE);
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM, protocol).step("socket")?;
    socket.connect(&target.into()).step("connect")?;
    socket.send(arguments.mark()).step("send")?;
    sent()
}

fn open(arguments: &Arguments) -> Result<(Socket, SocketAddr), Refusal> {
    let target = mapped(arguments);
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM, None).step("socket")?;
    apply(arguments, &socket, target)?;
    Ok((socket, target))
}

fn sent() -> Result<Value, Refusal> {
    Ok(json!({ "sent": true }))
}

/// The bytes of a sockaddr_in or sockaddr_in6.
pub(crate) fn sockaddr(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(v4) => {
            let family = (libc::AF_INET as u16).to_ne_bytes();
            [&family[..], &port, &v4.ip().octets(), &[0; 8]].concat()
        }
        SocketAddr::V6(v6) => {
            let family = (libc::AF_INET6 as u16).to_ne_bytes();
            let flow = v6.flowinfo().to_be_bytes();
            [&family[..], &port, &flow, &v6.ip().octets(), &v6.scope_id().to_ne_bytes()].concat()
        }
    }
}
