//! Opening and making device nodes, wherever they are and whoever mounted them.

use core::ptr::addr_of;

use aya_ebpf::{helpers::generated::bpf_get_current_cgroup_id, programs::DeviceContext};
use httpjail_common::{
    event::RefuseReason,
    gate::{self, CHARACTER_DEVICE},
    jail::DeviceKey,
};

use crate::{emit::Refused, maps::DEVICES};

/// Judges a device by its numbers. It is the same for all jails, and before they are armed.
#[inline(always)]
pub fn check(ctx: &DeviceContext) -> Result<(), Refused> {
    let raw = ctx.device;
    // SAFETY: the kernel gives a valid context; the fields are read whole, as the verifier asks.
    let (access, major, minor) = unsafe {
        (
            addr_of!((*raw).access_type).read_volatile(),
            addr_of!((*raw).major).read_volatile(),
            addr_of!((*raw).minor).read_volatile(),
        )
    };
    // The low half is the device's kind, the high one what is done with it (bpf.h, struct
    // bpf_cgroup_dev_ctx).
    let kind = access & 0xffff;
    if gate::is_plain_device(kind, major, minor) {
        return Ok(());
    }
    if kind == CHARACTER_DEVICE && DEVICES.get_ptr(DeviceKey { major, minor }).is_some() {
        return Ok(());
    }
    // Before Linux 6.9 such programs can't ask for the ancestors, so a refusal in a cgroup below the
    // jail's isn't counted.
    // SAFETY: a helper without memory arguments.
    let jail = unsafe { bpf_get_current_cgroup_id() };
    Err(Refused { jail, reason: RefuseReason::Device })
}
