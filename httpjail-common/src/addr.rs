//! Addresses as both sides see them.

/// An IP address: 16 bytes in network byte order; IPv4 always in its IPv4-mapped form
/// (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2), so that one address has one representation.
///
/// Held as four words because the kernel's contexts give words; a word's bytes lie in memory as
/// they stand on the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Addr {
    words: [u32; 4],
}

/// The third word of an IPv4-mapped address.
const MAPPED: u32 = 0xffff_u32.to_be();

impl Addr {
    /// An IPv4 address from its word in network byte order.
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self { words: [0, 0, MAPPED, word] }
    }

    /// An IPv6 address from its words in network byte order; one that is IPv4-mapped is that IPv4
    /// address.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self { words }
    }

    /// The words in network byte order.
    #[inline(always)]
    pub const fn words(self) -> [u32; 4] {
        self.words
    }

    /// The IPv4 address's word, if it is one.
    #[inline(always)]
    pub const fn v4_word(self) -> Option<u32> {
        let [a, b, c, d] = self.words;
        if a == 0 && b == 0 && c == MAPPED { Some(d) } else { None }
    }

    /// Whether it is 127.0.0.0/8 or `::1`.
    #[inline(always)]
    pub const fn is_loopback(self) -> bool {
        let [a, b, c, d] = self.words;
        match self.v4_word() {
            Some(word) => u32::from_be(word) >> 24 == 127,
            None => a == 0 && b == 0 && c == 0 && d == 1_u32.to_be(),
        }
    }

    /// Whether it is 0.0.0.0 or `::`, which connect to the machine itself.
    #[inline(always)]
    pub const fn is_unspecified(self) -> bool {
        let [a, b, c, d] = self.words;
        match self.v4_word() {
            Some(word) => word == 0,
            None => a == 0 && b == 0 && c == 0 && d == 0,
        }
    }

    /// Whether the kernel latches an interface for it before a hook can change the address:
    /// IPv6 link-local (fe80::/10), and multicast or broadcast of either family.
    #[inline(always)]
    pub const fn is_scoped(self) -> bool {
        match self.v4_word() {
            Some(word) => {
                let host = u32::from_be(word);
                // lo has broadcast addresses, too: the first and the last of its network. What is
                // sent there reaches every socket that is bound to the port, not just one.
                let is_broadcast = matches!(host, 0x7f00_0000 | 0x7fff_ffff | u32::MAX);
                host >> 28 == 0xe || is_broadcast
            }
            None => {
                let top = u32::from_be(self.words[0]);
                top >> 22 == 0xfe80 >> 6 || top >> 24 == 0xff
            }
        }
    }
}

/// 127.0.0.1.
pub const LOCALHOST_V4: Addr = Addr::from_v4_word(0x7f00_0001_u32.to_be());
/// `::1`.
pub const LOCALHOST_V6: Addr = Addr::from_words([0, 0, 0, 1_u32.to_be()]);

#[cfg(feature = "user")]
mod user {
    use core::net::{IpAddr, Ipv6Addr};

    use super::Addr;

    impl From<IpAddr> for Addr {
        fn from(ip: IpAddr) -> Self {
            let octets = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            let word = |at: usize| {
                u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
            };
            Self { words: [word(0), word(4), word(8), word(12)] }
        }
    }

    impl From<Addr> for IpAddr {
        fn from(addr: Addr) -> Self {
            let mut octets = [0; 16];
            for (to, word) in octets.chunks_exact_mut(4).zip(addr.words) {
                to.copy_from_slice(&word.to_ne_bytes());
            }
            Self::V6(Ipv6Addr::from(octets)).to_canonical()
        }
    }
}

#[cfg(test)]
#[cfg(feature = "user")]
mod tests {
    extern crate std;

    use core::net::IpAddr;
    use proptest::prelude::*;

    use super::*;

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn knows_the_machine_itself() {
        for text in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(addr(text).is_loopback(), "{text}");
        }
        for text in ["128.0.0.1", "::2", "1.0.0.127", "::", "7f00::1"] {
            assert!(!addr(text).is_loopback(), "{text}");
        }
        assert!(addr("0.0.0.0").is_unspecified() && addr("::").is_unspecified());
        assert!(!addr("0.0.0.1").is_unspecified() && !addr("::1").is_unspecified());
        assert_eq!(addr("127.0.0.1"), LOCALHOST_V4);
        assert_eq!(addr("::1"), LOCALHOST_V6);
    }

    #[test]
    fn knows_what_has_a_scope() {
        for text in [
            "fe80::1",
            "febf::1",
            "ff02::1",
            "224.0.0.251",
            "239.1.1.1",
            "255.255.255.255",
            "127.255.255.255",
            "127.0.0.0",
        ] {
            assert!(addr(text).is_scoped(), "{text}");
        }
        for text in [
            "fec0::1",
            "fe7f::1",
            "2001:db8::1",
            "223.255.255.255",
            "240.0.0.1",
            "::1",
            "127.0.0.1",
        ] {
            assert!(!addr(text).is_scoped(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_address_survives_the_map(ip: IpAddr) {
            prop_assert_eq!(IpAddr::from(Addr::from(ip)), ip.to_canonical());
        }
    }
}
