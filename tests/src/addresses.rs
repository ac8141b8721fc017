//! The lab's addresses: global in form, so that the proxy's guard against private ranges has
//! nothing to say about them, and routed nowhere beyond the lab.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The client's end of the wire.
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(45, 67, 89, 1);
/// The client's end of the wire.
pub const CLIENT_V6: Ipv6Addr = v6(1);
/// The origin's end of the wire, where no web server listens.
pub const WIRE_V4: Ipv4Addr = Ipv4Addr::new(45, 67, 89, 2);
/// The origin's end of the wire, where no web server listens.
pub const WIRE_V6: Ipv6Addr = v6(2);
/// The name server that the client namespace's resolv.conf names.
pub const NAMESERVER_V4: Ipv4Addr = Ipv4Addr::new(45, 67, 89, 53);
/// A private address that the origin namespace answers on, for the guard's tests.
pub const PRIVATE_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// The client's interface.
pub const CLIENT_DEVICE: &str = "lab-c";
/// The origin's interface.
pub const ORIGIN_DEVICE: &str = "lab-o";

/// First and last host number that web servers are given.
pub(crate) const ORIGIN_HOSTS: std::ops::RangeInclusive<u8> = 10..=40;

/// The IPv4 address of the origin numbered `host`.
#[must_use]
pub const fn origin_v4(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(45, 67, 89, host)
}

/// The IPv6 address of the origin numbered `host`.
#[must_use]
pub const fn origin_v6(host: u8) -> Ipv6Addr {
    v6(host as u16)
}

const fn v6(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2a0f, 0x9400, 0x7777, 0, 0, 0, 0, host)
}
