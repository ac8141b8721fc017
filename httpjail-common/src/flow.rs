//! What the kernel side notes about a connection.

use crate::addr::Addr;

/// Bytes of a thread's name in the kernel (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;

/// Who made a socket call.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Thread group id in the initial PID namespace.
    pub pid: u32,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// The thread's name, filled up with zeros.
    pub comm: [u8; COMM_LEN],
}

/// Where a program wanted to go.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Target {
    /// The address.
    pub addr: Addr,
    /// The port, in host byte order.
    pub port: u32,
}

/// Names an accepted connection: the client's end of it, in its jail and network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The jail's cgroup id.
    pub jail: u64,
    /// The cookie of the client's network namespace.
    pub netns: u64,
    /// The client's address.
    pub addr: Addr,
    /// The client's port, in host byte order.
    pub port: u32,
    _pad: u32,
}

impl FlowKey {
    /// A key; its padding is zero, as a map's key must be.
    #[inline(always)]
    pub const fn new(jail: u64, netns: u64, addr: Addr, port: u32) -> Self {
        Self { jail, netns, addr, port, _pad: 0 }
    }
}

/// What is known of a connection when the proxy accepts it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowEntry {
    /// Where the program wanted to go.
    pub target: Target,
    /// Who called `connect()`.
    pub caller: Caller,
}

/// How a socket's traffic goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Untouched: no connect yet, or to a socket of the same jail.
    Direct,
    /// To the proxy.
    Proxy,
    /// To the DNS stub.
    Dns,
}

/// What a socket carries in its storage, from its creation to its end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketNote {
    /// The jail in which it was made; zero: not in a jail of ours.
    pub maker: u64,
    /// Where it was meant to go.
    pub target: Target,
    /// Who sent it there; before it went anywhere, who made it.
    pub caller: Caller,
    course: u32,
    proven: u32,
    counted: u16,
    shares: u16,
}

impl SocketNote {
    /// The note of a socket that `caller` just made in `jail`.
    #[inline(always)]
    pub const fn made_in(jail: u64, caller: Caller) -> Self {
        let target = Target { addr: Addr::from_words([0; 4]), port: 0 };
        Self { maker: jail, target, caller, course: 0, proven: 0, counted: 0, shares: 0 }
    }

    /// Notes whether the socket is among the jail's counted connections.
    #[inline(always)]
    pub const fn set_counted(&mut self, counted: bool) {
        self.counted = counted as u16;
    }

    /// Whether it is.
    #[inline(always)]
    pub const fn is_counted(&self) -> bool {
        self.counted != 0
    }

    /// Notes that the socket may share its port with others (`SO_REUSEPORT`), for good.
    #[inline(always)]
    pub const fn share(&mut self) {
        self.shares = 1;
    }

    /// Whether what is sent to the socket's port may come to another one, whatever a look-up says:
    /// a program of whoever is among them may choose (`SO_ATTACH_REUSEPORT_CBPF`).
    #[inline(always)]
    pub const fn shares(&self) -> bool {
        self.shares != 0
    }

    /// Notes that the socket's connection, between these ports, was seen to end in a socket of
    /// the jail's own proxy.
    #[inline(always)]
    pub const fn prove(&mut self, near: u32, far: u32) {
        self.proven = near << 16 | far;
    }

    /// Whether that was seen of the connection between these ports.
    #[inline(always)]
    pub const fn is_proven(&self, near: u32, far: u32) -> bool {
        self.proven != 0 && self.proven == near << 16 | far
    }

    /// Forgets what was seen: the socket's connection is over, or a new one begins.
    #[inline(always)]
    pub const fn unprove(&mut self) {
        self.proven = 0;
    }

    /// How its traffic goes.
    #[inline(always)]
    pub const fn course(&self) -> Course {
        match self.course {
            1 => Course::Proxy,
            2 => Course::Dns,
            _ => Course::Direct,
        }
    }

    /// Notes a new course.
    #[inline(always)]
    pub fn set_course(&mut self, course: Course) {
        self.course = match course {
            Course::Direct => 0,
            Course::Proxy => 1,
            Course::Dns => 2,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_connection() {
        let mut note = SocketNote::made_in(7, Caller::default());
        assert!(!note.is_proven(0, 0), "nothing was seen yet");
        note.prove(40000, 443);
        assert!(note.is_proven(40000, 443));
        assert!(!note.is_proven(40001, 443) && !note.is_proven(40000, 444));
        note.unprove();
        assert!(!note.is_proven(40000, 443));
    }

    #[test]
    fn a_socket_that_shares_its_port_is_known() {
        let mut note = SocketNote::made_in(7, Caller::default());
        note.set_counted(true);
        assert!(!note.shares());
        note.share();
        note.set_counted(false);
        assert!(note.shares());
    }
}
