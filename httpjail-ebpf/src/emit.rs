//! Refusals, and what becomes of them.

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::programs::SockAddrContext;
use httpjail_common::{
    event::{Act, RefuseReason},
    flow::Target,
};

use crate::{
    REFUSE, connect, count,
    ctx::{self, Family},
};

/// A refusal: whose, and why.
#[derive(Clone, Copy)]
pub struct Refused {
    /// The jail; zero where there is none.
    pub jail: u64,
    /// The reason.
    pub reason: RefuseReason,
}

/// A refusal outside of any armed jail.
pub const NO_JAIL: Refused = Refused { jail: 0, reason: RefuseReason::NoJail };

/// Counts the refusal of an act; the verdict is always the same.
#[inline(always)]
pub fn refuse(refused: Refused, act: &Act) -> i32 {
    count::refusal(refused, act);
    REFUSE
}

/// The same for a call of the running task with an address.
#[inline(always)]
pub fn refuse_call(refused: Refused, ctx: &SockAddrContext, family: Family) -> i32 {
    let (target, protocol) = (ctx::target(ctx, family), ctx::protocol(ctx));
    refuse(refused, &Act { caller: connect::caller(), target, protocol })
}

/// The same for a `socket()` call of the running task.
#[inline(always)]
pub fn refuse_socket(refused: Refused, protocol: u32) -> i32 {
    let target = Target::default();
    refuse(refused, &Act { caller: connect::caller(), target, protocol })
}

/// A pointer that no context of ours gives as null, but the verifier wants it checked.
#[inline(always)]
pub fn present(sk: *mut bpf_sock) -> Option<*mut bpf_sock> {
    if sk.is_null() { None } else { Some(sk) }
}
