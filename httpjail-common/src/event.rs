//! Why the kernel side refused something, how often, and whom.

use crate::flow::{COMM_LEN, Caller, Target};

/// Why the kernel side refused a call or dropped a packet. The number is the place in
/// [`Refusals`]; numbers are never reused.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefuseReason {
    /// A socket type or protocol other than TCP and UDP.
    Protocol = 0,
    /// UDP to a port other than 53.
    Udp = 1,
    /// A socket that is bound to a device.
    BoundDevice = 2,
    /// A datagram to a link-local, multicast or broadcast address.
    Scoped = 3,
    /// IPv6 where the proxy listens on IPv4 only.
    NoIpv6 = 4,
    /// A packet that would have left over another device than lo.
    NotLoopback = 5,
    /// A packet with options, fragments or extension headers.
    Header = 6,
    /// A packet to or from a socket on lo that isn't the jail's.
    Stranger = 7,
    /// A connection attempt from outside to a jailed listener.
    Inbound = 8,
    /// The kernel could not note the connection (memory, a full map).
    NoMemory = 9,
    /// The cgroup has no entry: its jail isn't armed any more, or never was.
    NoJail = 10,
    /// Nothing of the jail's own listens where its proxy or stub did.
    NoServer = 11,
    /// The jail has as many connections as one may have.
    TooMany = 12,
    /// A device that is none of the plain ones.
    Device = 13,
    /// A datagram, or data in a SYN, to a port of the jail's that others may share.
    SharedPort = 14,
}

impl RefuseReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Protocol,
        Self::Udp,
        Self::BoundDevice,
        Self::Scoped,
        Self::NoIpv6,
        Self::NotLoopback,
        Self::Header,
        Self::Stranger,
        Self::Inbound,
        Self::NoMemory,
        Self::NoJail,
        Self::NoServer,
        Self::TooMany,
        Self::Device,
        Self::SharedPort,
    ];

    /// A short name for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Udp => "udp",
            Self::BoundDevice => "bound-device",
            Self::Scoped => "scoped-address",
            Self::NoIpv6 => "no-ipv6",
            Self::NotLoopback => "not-loopback",
            Self::Header => "packet-header",
            Self::Stranger => "stranger",
            Self::Inbound => "inbound",
            Self::NoMemory => "no-memory",
            Self::NoJail => "no-jail",
            Self::NoServer => "no-server",
            Self::TooMany => "too-many",
            Self::Device => "device",
            Self::SharedPort => "shared-port",
        }
    }
}

/// Places in [`Refusals`]; some are free for later reasons.
pub const REASONS: usize = 16;

/// How often each reason came up in one jail.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    counts: [u64; REASONS],
}

impl Refusals {
    /// The count for `reason`.
    pub fn of(&self, reason: RefuseReason) -> u64 {
        self.counts.get(reason as usize).copied().unwrap_or(0)
    }
}

/// What was refused to whom: one entry for each program, reason and destination of a jail.
///
/// The process isn't part of it, or a script that starts the same program a thousand times would
/// fill the jail's share of the map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RefusalKey {
    /// The jail's cgroup id.
    pub jail: u64,
    reason: u32,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// The thread's name, filled up with zeros; all zero where no program is known.
    pub comm: [u8; COMM_LEN],
    /// Where it would have gone; all zero where there is no destination.
    pub target: Target,
    /// The IP protocol; zero where none is known.
    pub protocol: u32,
}

/// What is noted of one [`RefusalKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RefusalNote {
    /// How often it came up.
    pub count: u64,
    /// When it did first, in nanoseconds since the machine was started.
    pub first: u64,
    /// Which process it was then; zero where none is known.
    pub pid: u32,
    _pad: u32,
}

/// What a program did that was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Act {
    /// Which program; all zero where none is known.
    pub caller: Caller,
    /// Where to; all zero where there is no destination.
    pub target: Target,
    /// By which IP protocol; zero where none is known.
    pub protocol: u32,
}

impl RefusalKey {
    /// The key of what `act` was refused for.
    #[inline(always)]
    pub const fn new(jail: u64, reason: RefuseReason, act: &Act) -> Self {
        let Act { caller: Caller { uid, comm, .. }, target, protocol } = *act;
        Self { jail, reason: reason as u32, uid, comm, target, protocol }
    }

    /// Why it was refused.
    pub fn reason(&self) -> Option<RefuseReason> {
        RefuseReason::ALL.into_iter().find(|reason| *reason as u32 == self.reason)
    }
}

impl RefusalNote {
    /// The note of a refusal that came up once, at `first`.
    #[inline(always)]
    pub const fn once(pid: u32, first: u64) -> Self {
        Self { count: 1, first, pid, _pad: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place() {
        for (place, reason) in RefuseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
            assert!(place < REASONS);
            let key = RefusalKey::new(1, reason, &Act::default());
            assert_eq!(key.reason(), Some(reason));
        }
    }
}
