//! Which addresses are special: everything that isn't a plain host of the public Internet.
//!
//! The tables follow the IANA special-purpose registries (RFC 6890 and its updates) and add the
//! metadata services of clouds. IPv6 addresses that carry an IPv4 address are judged by it, since
//! a translator on the way would deliver to it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
};

/// Why an address is special.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// The unspecified address, or "this network".
    Unspecified,
    /// This machine.
    Loopback,
    /// Another address of this machine, whatever its range.
    Own,
    /// A private network, unique local addresses included.
    Private,
    /// The local link.
    LinkLocal,
    /// A cloud's metadata service.
    Metadata,
    /// Between a provider and its customers (carrier-grade NAT).
    Shared,
    /// Many hosts at once.
    Multicast,
    /// For documentation or benchmarks.
    Example,
    /// Set aside for protocols, or not assigned.
    Reserved,
}

impl Special {
    /// Whether a TCP connection to such an address can make sense on some machine.
    pub(super) fn is_dialable(self) -> bool {
        match self {
            Self::Unspecified | Self::Multicast => false,
            Self::Loopback
            | Self::Own
            | Self::Private
            | Self::LinkLocal
            | Self::Metadata
            | Self::Shared
            | Self::Example
            | Self::Reserved => true,
        }
    }
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "private (loopback)",
            Self::Own => "private (this machine's own)",
            Self::Private => "private",
            Self::LinkLocal => "private (link-local)",
            Self::Metadata => "private (a metadata service)",
            Self::Shared => "private (carrier-grade NAT)",
            Self::Multicast => "multicast",
            Self::Example => "reserved for documentation or benchmarks",
            Self::Reserved => "reserved",
        })
    }
}

/// The range that makes `ip` special, or `None` for a plain public address.
pub(super) fn special(ip: IpAddr) -> Option<Special> {
    match ip {
        IpAddr::V4(ip) => special_v4(ip),
        IpAddr::V6(ip) => special_v6(ip),
    }
}

/// Whether `ip` is this machine's own now. Services that listen on a public address of their
/// machine may trust who comes from the machine itself.
///
/// The kernel tells by its choice of a source: it is the destination itself when that is local,
/// and never else. Connecting a UDP socket sends nothing.
pub(super) fn is_own(ip: IpAddr) -> bool {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((ip, PROBED_PORT))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

/// Any port will do: nothing is sent to it.
const PROBED_PORT: u16 = 9;

/// The IPv4 address inside a v4-mapped one, else `ip` itself.
pub(super) fn unmapped(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn special_v4(ip: Ipv4Addr) -> Option<Special> {
    let bits = ip.to_bits();
    V4.iter()
        .find(|(net, length, _)| (bits ^ net.to_bits()) >> (32 - length) == 0)
        .map(|(_, _, special)| *special)
}

fn special_v6(ip: Ipv6Addr) -> Option<Special> {
    let bits = ip.to_bits();
    let within = |(net, length, _): &&(Ipv6Addr, u32, Special)| {
        (bits ^ net.to_bits()) >> (128 - length) == 0
    };
    if let Some((_, _, special)) = V6.iter().find(within) {
        return Some(*special);
    }
    if let Some(special) = embedded(ip).into_iter().flatten().find_map(special_v4) {
        return Some(special);
    }
    let translated = bits >> 32 == NAT64.to_bits() >> 32 || ip.to_ipv4_mapped().is_some();
    let global_unicast = bits >> 125 == 0b001;
    (!global_unicast && !translated).then_some(Special::Reserved)
}

/// The well-known prefix of translators to IPv4, 96 bits long.
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// The IPv4 addresses that `ip` carries: mapped, NAT64, 6to4, Teredo (server and client), ISATAP.
fn embedded(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let bits = ip.to_bits();
    let at = |shift: u32| Ipv4Addr::from_bits((bits >> shift) as u32);
    let low = at(0);
    let [first, second, .., isatap_high, isatap, _, _] = ip.segments();
    match (first, second) {
        (0x64, 0xff9b) => [Some(low), None],
        (0x2002, _) => [Some(at(80)), None],
        (0x2001, 0) => [Some(at(64)), Some(Ipv4Addr::from_bits(!low.to_bits()))],
        _ if ip.to_ipv4_mapped().is_some() => [Some(low), None],
        _ if isatap == 0x5efe && matches!(isatap_high, 0 | 0x200) => [Some(low), None],
        _ => [None, None],
    }
}

/// IPv4: network, prefix length, kind; the first match counts.
const V4: [(Ipv4Addr, u32, Special); 18] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, Special::Unspecified),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Special::Private),
    (Ipv4Addr::new(100, 100, 100, 200), 32, Special::Metadata), // Alibaba Cloud
    (Ipv4Addr::new(100, 64, 0, 0), 10, Special::Shared),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Special::Loopback),
    (Ipv4Addr::new(168, 63, 129, 16), 32, Special::Metadata), // Azure
    (Ipv4Addr::new(169, 254, 169, 254), 32, Special::Metadata), // most clouds
    (Ipv4Addr::new(169, 254, 0, 0), 16, Special::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Special::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Special::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Special::Example),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Special::Reserved), // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16, Special::Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Special::Example),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Special::Example),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Special::Example),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Special::Multicast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Special::Reserved),
];

/// IPv6: network, prefix length, kind; the first match counts. What is outside 2000::/3 and
/// carries no IPv4 address is reserved without being listed.
const V6: [(Ipv6Addr, u32, Special); 13] = [
    (Ipv6Addr::UNSPECIFIED, 128, Special::Unspecified),
    (Ipv6Addr::LOCALHOST, 128, Special::Loopback),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, Special::Private), // local NAT64
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, Special::Example),
    (Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0), 28, Special::Reserved), // ORCHID
    (Ipv6Addr::new(0x2001, 0x20, 0, 0, 0, 0, 0, 0), 28, Special::Reserved), // ORCHIDv2
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Special::Example),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Special::Example),
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128, Special::Metadata), // AWS
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Special::Private),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Special::LinkLocal),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Special::Private), // site-local
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Special::Multicast),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Special> {
        special(text.parse().unwrap())
    }

    #[test]
    fn public_addresses_are_plain() {
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "45.67.89.1",
            "168.63.129.17",
            "2606:4700::1111",
            "2a0f:9400:7777::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
            "3ffe::1",
            "2001:200::1",
            "2001:db7::1",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn special_addresses_are_told() {
        use Special::*;
        for (text, range) in [
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("10.0.0.1", Private),
            ("100.64.0.1", Shared),
            ("100.100.100.200", Metadata),
            ("127.0.0.1", Loopback),
            ("127.255.255.255", Loopback),
            ("168.63.129.16", Metadata),
            ("169.254.169.254", Metadata),
            ("169.254.0.1", LinkLocal),
            ("172.16.0.0", Private),
            ("172.31.255.255", Private),
            ("192.0.0.8", Reserved),
            ("192.0.2.1", Example),
            ("192.88.99.1", Reserved),
            ("192.168.1.1", Private),
            ("198.18.0.1", Example),
            ("198.19.255.255", Example),
            ("198.51.100.1", Example),
            ("203.0.113.1", Example),
            ("224.0.0.1", Multicast),
            ("240.0.0.1", Reserved),
            ("255.255.255.255", Reserved),
            ("::", Unspecified),
            ("::1", Loopback),
            ("::2", Reserved),
            ("::127.0.0.1", Reserved),
            ("100::1", Reserved),
            ("2001:2::1", Example),
            ("2001:10::1", Reserved),
            ("2001:20::1", Reserved),
            ("2001:db8::1", Example),
            ("3fff::1", Example),
            ("5f00::1", Reserved),
            ("4000::1", Reserved),
            ("fc00::1", Private),
            ("fd68:7474:706a:6169::1", Private),
            ("fd00:ec2::254", Metadata),
            ("fe80::1", LinkLocal),
            ("fec0::1", Private),
            ("ff02::1", Multicast),
        ] {
            assert_eq!(of(text), Some(range), "{text}");
        }
    }

    #[test]
    fn carried_ipv4_addresses_count() {
        for (text, range) in [
            ("::ffff:127.0.0.1", Special::Loopback),
            ("::ffff:169.254.169.254", Special::Metadata),
            ("64:ff9b::10.0.0.1", Special::Private),
            ("64:ff9b:1::1.1.1.1", Special::Private),
            ("64:ff9b:2::1.1.1.1", Special::Reserved),
            ("2002:7f00:1::", Special::Loopback),
            ("2002:a9fe:a9fe::1", Special::Metadata),
            // Teredo: the server's address in the clear, the client's inverted.
            ("2001:0:a00:1:0:0:fefe:fefe", Special::Private),
            ("2001:0:101:101:0:0:80ff:fffe", Special::Loopback),
            ("2606:4700::5efe:7f00:1", Special::Loopback),
            ("2606:4700::200:5efe:a00:1", Special::Private),
        ] {
            assert_eq!(of(text), Some(range), "{text}");
        }
        assert_eq!(of("2001:0:101:101:0:0:fefe:fefe"), None);
    }
}
