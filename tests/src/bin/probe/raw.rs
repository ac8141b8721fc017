//! Sockets below the transport: ping, raw and packet.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use httpjail_tests::act::{Refusal, Step};
use httpjail_tests::sys;
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use crate::arguments::Arguments;

const ETH_P_IP: u16 = 0x0800;
/// A protocol number kept free for experiments.
const EXPERIMENT: i32 = 253;

/// An echo request with the mark in it, by a ping socket, which asks for no privilege.
pub(crate) fn ping(arguments: &Arguments) -> Result<Value, Refusal> {
    let target = arguments.address();
    let (protocol, kind) = match target {
        SocketAddr::V4(_) => (Protocol::ICMPV4, 8),
        SocketAddr::V6(_) => (Protocol::ICMPV6, 128),
    };
    let domain = Domain::for_address(target);
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol)).step("socket")?;
    let request = [&[kind, 0, 0, 0, 0, 1, 0, 1], arguments.mark()].concat();
    socket.send_to(&request, &target.into()).step("sendto")?;
    Ok(json!({ "sent": true }))
}

/// A packet of an unheard-of protocol with the mark in it.
pub(crate) fn raw(arguments: &Arguments) -> Result<Value, Refusal> {
    let mut target = arguments.address();
    target.set_port(0);
    let protocol = Some(Protocol::from(EXPERIMENT));
    let socket = Socket::new(Domain::for_address(target), Type::RAW, protocol).step("socket")?;
    socket.send_to(arguments.mark(), &target.into()).step("sendto")?;
    Ok(json!({ "sent": true }))
}

/// An IPv4 packet put on the interface (the first word) by hand, past the whole IP stack.
pub(crate) fn packet(arguments: &Arguments) -> Result<Value, Refusal> {
    let device = sys::interface_index(arguments.word(0)).step("if_nametoindex")?;
    let protocol = Some(Protocol::from(i32::from(ETH_P_IP.to_be())));
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, protocol).step("socket")?;
    let payload = arguments.mark();
    let length = u16::try_from(20 + payload.len()).expect("a short mark").to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, EXPERIMENT as u8, 0, 0];
    packet.extend([45, 67, 89, 1, 45, 67, 89, 2]);
    packet.extend(payload);
    sys::send_message(socket.as_fd(), &packet, &link_address(device), None, 0).step("sendto")?;
    Ok(json!({ "sent": true }))
}

/// A sockaddr_ll: family, protocol, interface, hardware type, packet type, length, and the lab's
/// hardware address for the other end.
fn link_address(device: u32) -> Vec<u8> {
    let family = (libc::AF_PACKET as u16).to_ne_bytes();
    let peer = [2, 0, 0, 0, 0, 2, 0, 0];
    [&family[..], &ETH_P_IP.to_be_bytes(), &device.to_ne_bytes(), &[0, 0, 0, 6], &peer].concat()
}
