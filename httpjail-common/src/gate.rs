//! The verdicts, as pure functions: the kernel side runs them, the tests run them on the host.

use crate::{
    addr::{Addr, LOCALHOST_V4, LOCALHOST_V6},
    event::RefuseReason,
    jail::JailEntry,
};

/// The port of DNS.
pub const DNS_PORT: u32 = 53;
/// IP protocol numbers (IANA).
pub const IPPROTO_TCP: u32 = 6;
/// UDP.
pub const IPPROTO_UDP: u32 = 17;
/// Linux's `SOCK_STREAM`.
pub const SOCK_STREAM: u32 = 1;
/// Linux's `SOCK_DGRAM`.
pub const SOCK_DGRAM: u32 = 2;

/// A transport that the gate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// The transport of an IP protocol number; all others are refused.
    #[inline(always)]
    pub const fn of(protocol: u32) -> Option<Self> {
        match protocol {
            IPPROTO_TCP => Some(Self::Tcp),
            IPPROTO_UDP => Some(Self::Udp),
            _ => None,
        }
    }

    /// Its IP protocol number.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        match self {
            Self::Tcp => IPPROTO_TCP,
            Self::Udp => IPPROTO_UDP,
        }
    }
}

/// The transport behind a hop-by-hop header of IPv6 that says the packet's length and nothing else
/// (RFC 2675). Linux 6.10 puts such a one before what a TCP socket sends in more than 64 KiB at once,
/// and takes it out again on the device.
#[inline(always)]
pub const fn behind_length(header: [u8; 8]) -> Option<Transport> {
    const LENGTH: u8 = 0xc2;
    match header {
        // The next header; further octets in eights; option, its size, its value.
        [next, 0, LENGTH, 4, ..] => match Transport::of(next as u32) {
            Some(Transport::Tcp) => Some(Transport::Tcp),
            Some(Transport::Udp) | None => None,
        },
        _ => None,
    }
}

/// What a refused `socket()` call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketVerdict {
    /// The socket is made.
    Allow,
    /// EPROTONOSUPPORT: programs fall back to TCP or UDP (MPTCP, UDP-Lite, SCTP, DCCP).
    Unsupported,
    /// EPERM (raw and ping sockets).
    Refuse,
}

/// Judges `socket(AF_INET or AF_INET6, type, protocol)`.
#[inline(always)]
pub const fn socket(kind: u32, protocol: u32) -> SocketVerdict {
    match (kind, protocol) {
        (SOCK_STREAM, 0 | IPPROTO_TCP) | (SOCK_DGRAM, 0 | IPPROTO_UDP) => SocketVerdict::Allow,
        // ICMP (1) and ICMPv6 (58) as datagrams are ping sockets.
        (SOCK_DGRAM, 1 | 58) => SocketVerdict::Refuse,
        (SOCK_STREAM | SOCK_DGRAM, _) => SocketVerdict::Unsupported,
        _ => SocketVerdict::Refuse,
    }
}

/// A device's kind, as the kernel tells it to programs (`BPF_DEVCG_DEV_CHAR`).
pub const CHARACTER_DEVICE: u32 = 2;

/// Whether every jail may open a device (Documentation/admin-guide/devices.txt). A list of what
/// may be: of the others many lead to the kernel, the disks and the wire, past everything else.
#[inline(always)]
pub const fn is_plain_device(kind: u32, major: u32, minor: u32) -> bool {
    if kind != CHARACTER_DEVICE {
        return false;
    }
    match major {
        // null, zero, full, random, urandom.
        1 => matches!(minor, 3 | 5 | 7 | 8 | 9),
        // The process's own terminal, and the maker of new ones.
        5 => matches!(minor, 0 | 2),
        // Ends of pseudo-terminals.
        136..=143 => true,
        // Graphics: NVIDIA, DRM, and compute accelerators.
        195 | 226 | 261 => true,
        _ => false,
    }
}

/// Where a connect or a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To the proxy at this address and port.
    Proxy(Addr, u32),
    /// To the DNS stub at this address and port.
    Dns(Addr, u32),
    /// It is addressed to the stub already.
    AtStub,
}

/// Routes what isn't for a socket of the same jail.
///
/// # Errors
///
/// Why it is refused.
#[inline(always)]
pub const fn route(
    jail: &JailEntry,
    transport: Transport,
    addr: Addr,
    port: u32,
) -> Result<Route, RefuseReason> {
    let is_v4 = addr.v4_word().is_some();
    let (host, proxy, dns) = if is_v4 {
        (LOCALHOST_V4, jail.proxy_v4, jail.dns_v4)
    } else {
        (LOCALHOST_V6, jail.proxy_v6, jail.dns_v6)
    };
    if proxy == 0 || dns == 0 {
        return Err(RefuseReason::NoIpv6);
    }
    match transport {
        Transport::Tcp => Ok(Route::Proxy(host, proxy)),
        Transport::Udp if is_host(addr, host) && port == dns => Ok(Route::AtStub),
        Transport::Udp if port == DNS_PORT => Ok(Route::Dns(host, dns)),
        Transport::Udp => Err(RefuseReason::Udp),
    }
}

/// Whether an address is where the jail's own proxy or stub listens. Whether it is they who listen
/// there is another question: anybody can when they are dead.
#[inline(always)]
pub const fn is_endpoint(jail: &JailEntry, transport: Transport, addr: Addr, port: u32) -> bool {
    if port == 0 {
        return false;
    }
    let (v4, v6) = match transport {
        Transport::Tcp => (jail.proxy_v4, jail.proxy_v6),
        Transport::Udp => (jail.dns_v4, jail.dns_v6),
    };
    (is_host(addr, LOCALHOST_V4) && port == v4) || (is_host(addr, LOCALHOST_V6) && port == v6)
}

/// `==` that const functions can call.
#[inline(always)]
const fn is_host(a: Addr, b: Addr) -> bool {
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.words(), b.words());
    a0 == b0 && a1 == b1 && a2 == b2 && a3 == b3
}

#[cfg(test)]
#[cfg(feature = "user")]
mod tests {
    extern crate std;

    use core::net::IpAddr;
    use proptest::prelude::*;

    use super::*;
    use crate::jail::Published;

    const JAIL: JailEntry = JailEntry {
        proxy_v4: 4000,
        proxy_v6: 6000,
        dns_v4: 4053,
        dns_v6: 6053,
        published: Published::NONE,
    };
    const V4_ONLY: JailEntry = JailEntry { proxy_v6: 0, dns_v6: 0, ..JAIL };

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_header_of_the_length_alone_is_no_way_round() {
        assert_eq!(behind_length([6, 0, 0xc2, 4, 0, 1, 0, 0]), Some(Transport::Tcp));
        let others = [
            [17, 0, 0xc2, 4, 0, 1, 0, 0], // UDP
            [43, 0, 0xc2, 4, 0, 1, 0, 0], // a routing header
            [0, 0, 0xc2, 4, 0, 1, 0, 0],  // another of its kind
            [6, 1, 0xc2, 4, 0, 1, 0, 0],  // more options
            [6, 0, 0xc2, 5, 0, 1, 0, 0],
            [6, 0, 0x05, 2, 0, 0, 1, 0], // router alert
            [6, 0, 1, 4, 0, 0, 0, 0],    // padding
        ];
        for header in others {
            assert_eq!(behind_length(header), None, "{header:?}");
        }
    }

    #[test]
    fn only_tcp_and_udp_sockets_are_made() {
        use SocketVerdict::{Allow, Refuse, Unsupported};
        let table = [
            ((1, 0), Allow),
            ((1, 6), Allow),
            ((2, 0), Allow),
            ((2, 17), Allow),
            ((1, 262), Unsupported), // MPTCP
            ((2, 136), Unsupported), // UDP-Lite
            ((1, 132), Unsupported), // SCTP
            ((6, 33), Refuse),       // DCCP
            ((2, 1), Refuse),        // ping
            ((2, 58), Refuse),       // ping, IPv6
            ((3, 1), Refuse),        // raw
            ((3, 255), Refuse),
            ((10, 0), Refuse), // SOCK_PACKET
        ];
        for ((kind, protocol), verdict) in table {
            assert_eq!(socket(kind, protocol), verdict, "{kind} {protocol}");
        }
    }

    #[test]
    fn only_plain_devices_are_opened() {
        const BLOCK_DEVICE: u32 = 1;
        for (major, minor) in
            [(1, 3), (1, 5), (1, 9), (5, 0), (5, 2), (136, 0), (143, 7), (226, 128)]
        {
            assert!(is_plain_device(CHARACTER_DEVICE, major, minor), "{major}:{minor}");
            assert!(!is_plain_device(BLOCK_DEVICE, major, minor), "{major}:{minor}");
        }
        let refused = [
            (1, 1),     // mem
            (1, 4),     // port
            (1, 11),    // kmsg
            (4, 1),     // a console
            (4, 64),    // a serial line
            (5, 1),     // the console
            (10, 200),  // tun
            (10, 229),  // fuse
            (10, 232),  // kvm
            (202, 0),   // a processor's registers
            (231, 192), // InfiniBand
        ];
        for (major, minor) in refused {
            assert!(!is_plain_device(CHARACTER_DEVICE, major, minor), "{major}:{minor}");
        }
    }

    #[test]
    fn dns_goes_to_the_stub_and_other_datagrams_nowhere() {
        let udp = |text, port| route(&JAIL, Transport::Udp, addr(text), port);
        assert_eq!(udp("9.9.9.9", 53), Ok(Route::Dns(LOCALHOST_V4, 4053)));
        assert_eq!(udp("::ffff:9.9.9.9", 53), Ok(Route::Dns(LOCALHOST_V4, 4053)));
        assert_eq!(udp("2620:fe::fe", 53), Ok(Route::Dns(LOCALHOST_V6, 6053)));
        assert_eq!(udp("127.0.0.1", 4053), Ok(Route::AtStub));
        assert_eq!(udp("::1", 6053), Ok(Route::AtStub));
        assert_eq!(udp("127.0.0.1", 6053), Err(RefuseReason::Udp));
        assert_eq!(udp("9.9.9.9", 443), Err(RefuseReason::Udp));
        assert_eq!(udp("127.0.0.1", 123), Err(RefuseReason::Udp));
    }

    #[test]
    fn ipv6_is_refused_where_the_proxy_has_none() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let refused = route(&V4_ONLY, transport, addr("2620:fe::fe"), 53);
            assert_eq!(refused, Err(RefuseReason::NoIpv6));
        }
        assert!(!is_endpoint(&V4_ONLY, Transport::Tcp, LOCALHOST_V6, 0));
    }

    proptest! {
        #[test]
        fn every_tcp_connect_goes_to_the_proxy(ip: IpAddr, port in 0_u32..=65535) {
            let host = if ip.to_canonical().is_ipv4() { LOCALHOST_V4 } else { LOCALHOST_V6 };
            let proxy = if ip.to_canonical().is_ipv4() { 4000 } else { 6000 };
            prop_assert_eq!(
                route(&JAIL, Transport::Tcp, ip.into(), port),
                Ok(Route::Proxy(host, proxy))
            );
        }

        #[test]
        fn no_datagram_is_routed_but_to_the_stub(ip: IpAddr, port in 0_u32..=65535) {
            match route(&JAIL, Transport::Udp, ip.into(), port) {
                Ok(Route::Dns(host, stub)) => {
                    prop_assert_eq!(port, DNS_PORT);
                    prop_assert!(is_endpoint(&JAIL, Transport::Udp, host, stub));
                }
                Ok(Route::AtStub) => {
                    prop_assert!(is_endpoint(&JAIL, Transport::Udp, ip.into(), port));
                }
                Ok(Route::Proxy(..)) => prop_assert!(false, "a datagram went to the proxy"),
                Err(reason) => prop_assert_eq!(reason, RefuseReason::Udp),
            }
        }

        #[test]
        fn endpoints_are_on_the_two_loopback_addresses_only(ip: IpAddr, port in 0_u32..=65535) {
            if is_endpoint(&JAIL, Transport::Tcp, ip.into(), port) {
                let canonical = ip.to_canonical();
                prop_assert!(canonical == IpAddr::from([127, 0, 0, 1]) || canonical == "::1".parse::<IpAddr>().unwrap());
            }
        }
    }
}
