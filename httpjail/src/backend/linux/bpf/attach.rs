//! Which program goes to which hook, and what is attached to a cgroup.

use std::{io, os::fd::BorrowedFd};

use super::sys::{self, ProgramInfo};

/// `enum bpf_prog_type`.
const CGROUP_SKB: u32 = 8;
const CGROUP_SOCK: u32 = 9;
const SOCK_OPS: u32 = 13;
const CGROUP_DEVICE: u32 = 15;
const CGROUP_SOCK_ADDR: u32 = 18;
const CGROUP_SOCKOPT: u32 = 25;

/// A hook of the parent cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// The program's name in the object.
    pub(crate) program: &'static str,
    /// `enum bpf_prog_type`.
    pub(super) kind: u32,
    /// `enum bpf_attach_type`.
    pub(crate) attach_type: u32,
    /// The attach type that the program is loaded for; sock_ops and device programs have none.
    pub(super) expected: u32,
}

const fn hook(program: &'static str, kind: u32, attach_type: u32) -> Hook {
    let expected = match kind {
        SOCK_OPS | CGROUP_DEVICE => 0,
        _ => attach_type,
    };
    Hook { program, kind, attach_type, expected }
}

/// All hooks. Egress and ingress stand first: they are the boundary.
pub(crate) const HOOKS: [Hook; 14] = [
    hook("hj_egress", CGROUP_SKB, 1),
    hook("hj_ingress", CGROUP_SKB, 0),
    hook("hj_sock_create", CGROUP_SOCK, 2),
    hook("hj_connect4", CGROUP_SOCK_ADDR, 10),
    hook("hj_connect6", CGROUP_SOCK_ADDR, 11),
    hook("hj_sendmsg4", CGROUP_SOCK_ADDR, 14),
    hook("hj_sendmsg6", CGROUP_SOCK_ADDR, 15),
    hook("hj_recvmsg4", CGROUP_SOCK_ADDR, 19),
    hook("hj_recvmsg6", CGROUP_SOCK_ADDR, 20),
    hook("hj_getpeer4", CGROUP_SOCK_ADDR, 29),
    hook("hj_getpeer6", CGROUP_SOCK_ADDR, 30),
    hook("hj_sock_ops", SOCK_OPS, 3),
    hook("hj_device", CGROUP_DEVICE, 6),
    hook("hj_setsockopt", CGROUP_SOCKOPT, 22),
];

/// The program that is attached to a hook, if it is exactly one.
///
/// # Errors
///
/// What the kernel says to the query.
pub(crate) fn attached(cgroup: BorrowedFd<'_>, hook: &Hook) -> io::Result<Option<ProgramInfo>> {
    let ids = sys::query(cgroup, hook.attach_type)?;
    let [id] = ids.as_slice() else { return Ok(None) };
    let program = sys::program_by_id(*id)?;
    use std::os::fd::AsFd;
    sys::program_info(program.as_fd()).map(Some)
}

/// Attaches a program that is loaded already.
///
/// # Errors
///
/// What the kernel says.
pub(crate) fn attach_by_id(cgroup: BorrowedFd<'_>, hook: &Hook, id: u32) -> io::Result<()> {
    use std::os::fd::AsFd;
    let program = sys::program_by_id(id)?;
    sys::attach(cgroup, program.as_fd(), hook.attach_type)
}
