//! Counting, which several processors do at once: refusals, and a jail's connections, whose number
//! has a bound so that one jail can't fill the table of all.

use core::{
    intrinsics::{AtomicOrdering, atomic_xadd},
    ptr::addr_of_mut,
};

use httpjail_common::{jail::Counters, names::MAX_CONNECTIONS};

use crate::{emit::Refused, maps::COUNTERS};

/// Counts a refusal, if the jail is one whose refusals are counted.
#[inline(always)]
pub fn refusal(refused: Refused) {
    let Some(counters) = COUNTERS.get_ptr_mut(refused.jail) else { return };
    let place = refused.reason as usize;
    // SAFETY: a value of the map; `refusals` is an array of `REASONS` counts, and every reason's
    // number is below that (a test in `event`).
    unsafe { add(addr_of_mut!((*counters).refusals).cast::<u64>().add(place), 1) };
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
