//! Refusals are counted here, and nowhere else.

use aya_ebpf::bindings::bpf_sock;
use httpjail_common::event::{Refusals, RefuseReason};

use crate::{REFUSE, maps::REFUSALS};

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
    if let Some(refusals) = REFUSALS.get_ptr_mut(refused.jail) {
        let place = refused.reason as usize;
        if place < size_of::<Refusals>() / size_of::<u64>() {
            // SAFETY: `refusals` points to a map value of this type and `place` is inside it.
            // Two processors may lose a count to each other: the target has no atomic add in
            // `core`, and a count is for people.
            unsafe { *refusals.cast::<u64>().add(place) += 1 };
        }
    }
    REFUSE
}

/// A pointer that no context of ours gives as null, but the verifier wants it checked.
#[inline(always)]
pub fn present(sk: *mut bpf_sock) -> Option<*mut bpf_sock> {
    if sk.is_null() { None } else { Some(sk) }
}
