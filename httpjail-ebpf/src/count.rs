//! Counting, which several processors do at once: refusals, and a jail's connections, whose number
//! has a bound so that one jail can't fill the table of all.

use core::{
    intrinsics::{AtomicOrdering, atomic_xadd},
    ptr::addr_of_mut,
};

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::generated::bpf_ktime_get_boot_ns};
use httpjail_common::{
    event::{Act, RefusalKey, RefusalNote},
    jail::Counters,
    names::{MAX_CONNECTIONS, MAX_TOLD},
};

use crate::{
    emit::Refused,
    maps::{COUNTERS, REFUSALS},
};

/// Counts a refusal, and notes whom and what it met, if the jail is one whose refusals are counted.
#[inline(always)]
pub fn refusal(refused: Refused, act: &Act) {
    let Some(counters) = COUNTERS.get_ptr_mut(refused.jail) else { return };
    let place = refused.reason as usize;
    // SAFETY: a value of the map; `refusals` is an array of `REASONS` counts, and every reason's
    // number is below that (a test in `event`).
    unsafe { add(addr_of_mut!((*counters).refusals).cast::<u64>().add(place), 1) };
    let key = RefusalKey::new(refused.jail, refused.reason, act);
    if again(&key) {
        return;
    }
    // SAFETY: a value of the map. Two that add at once may both see too many and both give up.
    unsafe {
        let told = addr_of_mut!((*counters).told);
        add(told, 1);
        if told.read_volatile() > MAX_TOLD {
            add(told, u64::MAX);
            return;
        }
    }
    // SAFETY: a helper without arguments.
    let note = RefusalNote::once(act.caller.pid, unsafe { bpf_ktime_get_boot_ns() });
    if REFUSALS.insert(key, note, BPF_NOEXIST.into()).is_err() {
        // Another processor was first, or there is no memory.
        again(&key);
        // SAFETY: a value of the map.
        unsafe { add(addr_of_mut!((*counters).told), u64::MAX) };
    }
}

/// Counts a refusal that is noted already. `false`: it isn't.
#[inline(always)]
fn again(key: &RefusalKey) -> bool {
    let Some(note) = REFUSALS.get_ptr_mut(key) else { return false };
    // SAFETY: a value of the map.
    unsafe { add(addr_of_mut!((*note).count), 1) };
    true
}

/// Whether the jail may not have another connection to its proxy.
#[inline(always)]
pub fn is_full(jail: u64) -> bool {
    // SAFETY: a value of the map.
    COUNTERS
        .get_ptr_mut(jail)
        .is_none_or(|counters| unsafe { connections(counters) } >= MAX_CONNECTIONS)
}

/// Counts a connection. `false`: it would be one too many, and isn't counted.
#[inline(always)]
pub fn connected(jail: u64) -> bool {
    let Some(counters) = COUNTERS.get_ptr_mut(jail) else { return false };
    // SAFETY: a value of the map. Two that add at once may both see too many and both give up,
    // but never go beyond the bound.
    unsafe {
        add(addr_of_mut!((*counters).connections), 1);
        if connections(counters) <= MAX_CONNECTIONS {
            return true;
        }
        add(addr_of_mut!((*counters).connections), u64::MAX);
    }
    false
}

/// Takes back what [`connected`] counted.
#[inline(always)]
pub fn closed(jail: u64) {
    let Some(counters) = COUNTERS.get_ptr_mut(jail) else { return };
    // SAFETY: a value of the map.
    unsafe { add(addr_of_mut!((*counters).connections), u64::MAX) };
}

/// # Safety
///
/// `counters` points to a value of the map.
#[inline(always)]
unsafe fn connections(counters: *mut Counters) -> u64 {
    // SAFETY: as the caller promises; volatile, as others write it meanwhile.
    unsafe { addr_of_mut!((*counters).connections).read_volatile() }
}

/// Adds, wrapping: adding `u64::MAX` takes one away.
///
/// # Safety
///
/// `count` points into a value of a map and is aligned; all writers add.
#[inline(always)]
unsafe fn add(count: *mut u64, what: u64) {
    // SAFETY: as the caller promises.
    unsafe { atomic_xadd::<_, _, { AtomicOrdering::Relaxed }>(count, what) };
}
