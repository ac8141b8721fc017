//! What a jailed root must not have: the capabilities that open the network part of the jail.
//!
//! A root command keeps the others (files, owners, users), so that builds in CI containers work.
//! For a plain user there is nothing to lose.

use super::{
    child::check,
    error::{Failure, Step},
};

/// Capability numbers (include/uapi/linux/capability.h), each a way past the jail: raw and packet
/// sockets, devices and rules of the network, kernel modules and memory, eBPF.
const OPENERS: [libc::c_ulong; 7] = [
    12, // CAP_NET_ADMIN
    13, // CAP_NET_RAW
    16, // CAP_SYS_MODULE
    17, // CAP_SYS_RAWIO
    22, // CAP_SYS_BOOT
    38, // CAP_PERFMON
    39, // CAP_BPF
];
/// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Takes them out of the bounding set, and empties the sets that an exec would carry over. The
/// exec that follows does the rest: a root program gets what is bound, no more.
///
/// Async-signal-safe.
pub(super) fn drop_openers() -> Result<(), Failure> {
    for capability in OPENERS {
        // SAFETY: prctl with plain numbers. EINVAL: the kernel has no such capability.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        let failure = check(Step::RefusePrivileges, result.into());
        if let Err(failure) = failure
            && failure.errno != libc::EINVAL
        {
            return Err(failure);
        }
    }
    // SAFETY: prctl with plain numbers.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    let mut header = Header { version: VERSION, pid: 0 };
    let mut sets = [Sets::default(); 2];
    // SAFETY: header and sets are of the sizes that version 3 has.
    unsafe {
        let got = libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr());
        check(Step::RefusePrivileges, got)?;
        for set in &mut sets {
            set.inheritable = 0;
        }
        let set = libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr());
        check(Step::RefusePrivileges, set)
    }
}
