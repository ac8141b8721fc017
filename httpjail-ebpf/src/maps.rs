//! The maps: the only place that declares any. All are shared by all jails and keyed by jail.

use core::ptr;

use aya_ebpf::{
    bindings::{BPF_F_CLONE, BPF_F_NO_PREALLOC, bpf_map_type},
    btf_maps::{HashMap, LruHashMap, SkStorage},
    macros::btf_map,
};
use httpjail_common::{
    event::{RefusalKey, RefusalNote},
    flow::{FlowEntry, FlowKey, SocketNote},
    jail::{Counters, DeviceKey, JailEntry, LocalKey},
    names::{MAX_DEVICES, MAX_FLOWS, MAX_JAILS, MAX_LOCALS, MAX_REFUSALS},
};

/// Allocated as they are needed: preallocating [`FLOWS`] alone would cost milliseconds.
const LAZY: usize = BPF_F_NO_PREALLOC as usize;

/// Which cgroups are jails, and where their proxies listen. Written by the user side only.
#[btf_map]
pub static JAILS: HashMap<u64, JailEntry, MAX_JAILS, LAZY> = HashMap::new();

/// Connections between `connect()` and accept. A plain hash: with an LRU one jail could evict
/// another's entries. Each jail has a bound of its own (`count`).
#[btf_map]
pub static FLOWS: HashMap<FlowKey, FlowEntry, MAX_FLOWS, LAZY> = HashMap::new();

/// What is counted of each jail. Entries are made by the user side.
#[btf_map]
pub static COUNTERS: HashMap<u64, Counters, MAX_JAILS, LAZY> = HashMap::new();

/// Whom what was refused. A plain hash, as [`FLOWS`], with a bound for each jail (`count`).
#[btf_map]
pub static REFUSALS: HashMap<RefusalKey, RefusalNote, MAX_REFUSALS, LAZY> = HashMap::new();

/// The machine's own addresses. Written by the user side only. The oldest may be forgotten: a
/// connect to a forgotten one goes to the proxy instead of to the jail's own socket.
#[btf_map]
pub static LOCALS: LruHashMap<LocalKey, u8, MAX_LOCALS> = LruHashMap::new();

/// Devices that are open to jails besides the plain ones. Written by the user side only.
#[btf_map]
pub static DEVICES: HashMap<DeviceKey, u8, MAX_DEVICES, LAZY> = HashMap::new();

/// What each jailed socket carries.
#[btf_map]
pub static NOTES: SkStorage<SocketNote> = SkStorage::new();

/// What the proxy's and the stub's sockets carry: the id of the jail that they serve. Written by
/// the supervisor only. The kernel copies it to every connection that such a socket accepts.
#[btf_map]
pub static SERVERS: InheritedStorage<u64> = InheritedStorage::new();

/// Socket storage that accepted sockets inherit, in the form that the loader reads: each number
/// is the length of an array. (aya's [`SkStorage`] leaves accepted sockets out.)
#[repr(C)]
pub struct InheritedStorage<T> {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize],
}

// SAFETY: the pointers are types for the loader; nothing follows them.
unsafe impl<T> Sync for InheritedStorage<T> {}

impl<T> InheritedStorage<T> {
    const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }
}
