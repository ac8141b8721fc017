//! Refusals, and what becomes of them.

use aya_ebpf::bindings::bpf_sock;
use httpjail_common::event::RefuseReason;

use crate::{REFUSE, count};

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

/// Counts the refusal; the verdict is always the same.
#[inline(always)]
pub fn refuse(refused: Refused) -> i32 {
    count::refusal(refused);
    REFUSE
}

/// A pointer that no context of ours gives as null, but the verifier wants it checked.
#[inline(always)]
pub fn present(sk: *mut bpf_sock) -> Option<*mut bpf_sock> {
    if sk.is_null() { None } else { Some(sk) }
}
