//! The layout of what lies in shared maps, checked at compile time: no implicit padding, and the
//! same offsets whatever compiles it.

use core::mem::{align_of, offset_of, size_of};

use crate::{
    addr::Addr,
    event::{RefusalKey, RefusalNote, Refusals},
    flow::{Caller, FlowEntry, FlowKey, SocketNote, Target},
    jail::{Counters, DeviceKey, JailEntry, LocalKey, Published},
};

const _: () = {
    assert!(size_of::<Addr>() == 16);
    assert!(size_of::<Caller>() == 24);
    assert!(size_of::<Target>() == 20);
    assert!(size_of::<FlowKey>() == 40 && offset_of!(FlowKey, port) == 32);
    assert!(size_of::<FlowEntry>() == 44 && offset_of!(FlowEntry, caller) == 20);
    assert!(size_of::<SocketNote>() == 64 && offset_of!(SocketNote, target) == 8);
    assert!(size_of::<Published>() == 16 && align_of::<Published>() == 1);
    assert!(size_of::<JailEntry>() == 32 && offset_of!(JailEntry, published) == 16);
    assert!(size_of::<LocalKey>() == 24);
    assert!(size_of::<DeviceKey>() == 8);
    assert!(size_of::<Counters>() == size_of::<Refusals>() + 16);
    assert!(size_of::<RefusalKey>() == 56 && offset_of!(RefusalKey, comm) == 16);
    assert!(offset_of!(RefusalKey, target) == 32 && offset_of!(RefusalKey, protocol) == 52);
    assert!(size_of::<RefusalNote>() == 24);
    assert!(size_of::<Refusals>() == 8 * crate::event::REASONS);
};
