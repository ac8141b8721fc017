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
}

/// What is counted of a jail. Only the kernel side writes it, and adds atomically.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How often it was refused what.
    pub refusals: Refusals,
    /// Its sockets that are connected, or connecting, to its proxy.
    pub connections: u64,
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
