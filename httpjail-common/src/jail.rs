//! What the user side tells the kernel side about a jail.

use crate::{addr::Addr, event::Refusals};

/// A jail's entry in the jail map; the key is the id of the jail's cgroup. Without an entry a
/// cgroup below the parent has no network.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JailEntry {
    /// The proxy's port on 127.0.0.1, in host byte order.
    pub proxy_v4: u32,
    /// The proxy's port on `::1`; zero: it doesn't listen there.
    pub proxy_v6: u32,
    /// The DNS stub's UDP port on 127.0.0.1.
    pub dns_v4: u32,
    /// The DNS stub's UDP port on `::1`; zero: none.
    pub dns_v6: u32,
    /// Where programs outside reach the jail's.
    pub published: Published,
}

/// How many ports of a jail can be published.
pub const MAX_PUBLISHED: usize = 8;

/// TCP ports whose listeners in the jail can be reached from outside, over lo. In network byte
/// order; zero: none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published([[u8; 2]; MAX_PUBLISHED]);

impl Published {
    /// No port.
    pub const NONE: Self = Self([[0; 2]; MAX_PUBLISHED]);

    /// These ports; `None` when there are more than [`MAX_PUBLISHED`].
    pub fn new(ports: &[core::num::NonZeroU16]) -> Option<Self> {
        let mut set = Self::NONE;
        let places = set.0.get_mut(..ports.len())?;
        for (place, port) in places.iter_mut().zip(ports) {
            *place = port.get().to_be_bytes();
        }
        Some(set)
    }

    /// The ports.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.0.iter().map(|port| u16::from_be_bytes(*port)).filter(|port| *port != 0)
    }

    /// Whether a port, in host byte order, is one of them.
    #[inline(always)]
    pub const fn has(&self, port: u32) -> bool {
        let [a, b, c, d, e, f, g, h] = self.0;
        let first = is(a, port) || is(b, port) || is(c, port) || is(d, port);
        port != 0 && (first || is(e, port) || is(f, port) || is(g, port) || is(h, port))
    }
}

#[inline(always)]
const fn is(published: [u8; 2], port: u32) -> bool {
    u16::from_be_bytes(published) as u32 == port
}

/// What is counted of a jail. Only the kernel side writes it, and adds atomically.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How often it was refused what.
    pub refusals: Refusals,
    /// Its sockets that are connected, or connecting, to its proxy.
    pub connections: u64,
    /// How many entries of its own the map of refusals holds, or held.
    pub told: u64,
}

/// A character device of this machine that is open to jails besides the plain ones.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeviceKey {
    /// The driver's number.
    pub major: u32,
    /// The device's.
    pub minor: u32,
}

/// An address of the machine itself: connecting to it goes over lo.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LocalKey {
    /// The cookie of the network namespace that has the address.
    pub netns: u64,
    /// The address.
    pub addr: Addr,
}

#[cfg(test)]
mod tests {
    use core::num::NonZeroU16;

    use super::*;

    #[test]
    fn knows_the_ports_that_are_published() {
        let port = |port| NonZeroU16::new(port).unwrap();
        let two = Published::new(&[port(8080), port(1)]).unwrap();
        assert!(two.has(8080) && two.has(1));
        assert!(!two.has(0) && !two.has(0x901f) && !two.has(0x1_0001) && !two.has(256));
        assert!(!Published::NONE.has(0));
        let mut all = [port(1); MAX_PUBLISHED];
        for (place, number) in all.iter_mut().zip(1000..) {
            *place = port(number);
        }
        let full = Published::new(&all).unwrap();
        assert!((1000..1008).all(|number| full.has(number)) && !full.has(1008));
        assert_eq!(Published::new(&[port(1); MAX_PUBLISHED + 1]), None);
    }
}
