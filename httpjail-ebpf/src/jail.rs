//! Which jail a task, a packet or a socket belongs to.
//!
//! A jail may have cgroups of its own below it, and a cgroup namespace hides how deep a jail
//! stands, so where the innermost cgroup is no jail its ancestors are looked up, level by level.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::{
        bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_sk_ancestor_cgroup_id,
        bpf_sk_cgroup_id, bpf_skb_ancestor_cgroup_id, bpf_skb_cgroup_id,
    },
};
use httpjail_common::jail::JailEntry;

use crate::maps::JAILS;

/// The deepest level of the cgroup tree at which a jail is looked for.
const DEEPEST: i32 = 24;

/// A jail and its entry.
#[derive(Clone, Copy)]
pub struct Jail {
    /// The id of its cgroup.
    pub id: u64,
    /// Where its proxy and stub listen.
    pub entry: JailEntry,
}

/// The jail of the running task. In socket hooks it is also the jail of the call: whoever calls
/// from outside, with a socket made inside, is refused.
#[inline(always)]
pub fn of_current() -> Option<Jail> {
    // SAFETY: helpers without memory arguments.
    let own = unsafe { bpf_get_current_cgroup_id() };
    find(own, |level| unsafe { bpf_get_current_ancestor_cgroup_id(level) })
}

/// The jail of the socket that a packet belongs to.
#[inline(always)]
pub fn of_packet(skb: *mut __sk_buff) -> Option<Jail> {
    // SAFETY: `skb` is the context of a cgroup_skb program.
    let own = unsafe { bpf_skb_cgroup_id(skb) };
    find(own, |level| unsafe { bpf_skb_ancestor_cgroup_id(skb, level) })
}

/// Whether a socket was made in the jail `id`.
#[inline(always)]
pub fn holds(id: u64, sk: *mut bpf_sock) -> bool {
    // SAFETY: `sk` is a referenced socket from a lookup helper.
    if unsafe { bpf_sk_cgroup_id(sk.cast()) } == id {
        return true;
    }
    let mut level = 1;
    while level < DEEPEST {
        // SAFETY: as above.
        let ancestor = unsafe { bpf_sk_ancestor_cgroup_id(sk.cast(), level) };
        if ancestor == id {
            return true;
        }
        if ancestor == 0 {
            return false;
        }
        level += 1;
    }
    false
}

/// The innermost cgroup first: nearly always it is the jail itself.
#[inline(always)]
fn find(own: u64, ancestor: impl Fn(i32) -> u64) -> Option<Jail> {
    if let Some(entry) = entry(own) {
        return Some(Jail { id: own, entry });
    }
    let mut level = 1;
    while level < DEEPEST {
        let id = ancestor(level);
        // Deeper than the cgroup itself.
        if id == 0 {
            return None;
        }
        if let Some(entry) = entry(id) {
            return Some(Jail { id, entry });
        }
        level += 1;
    }
    None
}

#[inline(always)]
fn entry(id: u64) -> Option<JailEntry> {
    // SAFETY: entries are written whole by the user side before the jail runs and not changed
    // while it lives; a copy is taken at once.
    unsafe { JAILS.get(id) }.copied()
}
