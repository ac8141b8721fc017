//! What a jailed root must not have: the capabilities that open the jail.
//!
//! A root command keeps the others (files, owners, users), so that builds in CI containers work.
//! For a plain user there is nothing to lose.

use super::{
    child::check,
    error::{Failure, Step},
};

/// Capability numbers (include/uapi/linux/capability.h), each a way past the jail: raw and packet
/// sockets, devices and rules of the network, kernel modules and memory, eBPF, mounts and other
/// namespaces, devices, other processes' memory, what belongs to the whole machine.
const OPENERS: [u32; 19] = [
    2,  // CAP_DAC_READ_SEARCH: files by handle, past every mount
    12, // CAP_NET_ADMIN
    13, // CAP_NET_RAW
    16, // CAP_SYS_MODULE
    17, // CAP_SYS_RAWIO
    19, // CAP_SYS_PTRACE
    21, // CAP_SYS_ADMIN
    22, // CAP_SYS_BOOT
    23, // CAP_SYS_NICE
    24, // CAP_SYS_RESOURCE
    25, // CAP_SYS_TIME
    27, // CAP_MKNOD
    30, // CAP_AUDIT_CONTROL
    32, // CAP_MAC_OVERRIDE
    33, // CAP_MAC_ADMIN
    34, // CAP_SYSLOG
    38, // CAP_PERFMON
    39, // CAP_BPF
    40, // CAP_CHECKPOINT_RESTORE
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

/// Takes them out of every set of this process, and empties those that an exec would carry over: a
/// root program gets what is bound, no more.
///
/// Async-signal-safe.
pub(super) fn drop_openers() -> Result<(), Failure> {
    for capability in OPENERS {
        // SAFETY: prctl with plain numbers. EINVAL: the kernel has no such capability.
        let result =
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
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
        for (set, first) in sets.iter_mut().zip([0, 32]) {
            let here = OPENERS.iter().filter_map(|capability| capability.checked_sub(first));
            let lost = here.filter(|bit| *bit < 32).fold(0, |bits, bit| bits | 1_u32 << bit);
            set.effective &= !lost;
            set.permitted &= !lost;
            set.inheritable = 0;
        }
        let set = libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr());
        check(Step::RefusePrivileges, set)
    }
}
