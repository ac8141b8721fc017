//! A Landlock domain around the jail: no connection to abstract Unix sockets outside, no signal to
//! a process outside, and no debugger on one (Landlock denies ptrace out of every domain).
//!
//! The namespaces leave the first open, because abstract names belong to the network namespace,
//! which the jail shares; and of the second, signals to the process group that it shares.

use super::{
    child::check,
    error::{Failure, Step},
};

/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL` (include/uapi/linux/landlock.h,
/// Linux 6.12).
const SCOPED: u64 = 1 | 1 << 1;
/// The first version with scopes.
const VERSION: libc::c_long = 6;
/// `LANDLOCK_CREATE_RULESET_VERSION`: ask for the version, make nothing.
const ASK: u32 = 1;

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct Attributes {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// Whether the kernel can do it.
pub(crate) fn is_there() -> bool {
    // SAFETY: with this flag the call takes no memory.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, ASK)
    };
    version >= VERSION
}

/// Enters a domain for good. Needs CAP_SYS_ADMIN or no_new_privs. Async-signal-safe.
pub(super) fn enter_domain() -> Result<(), Failure> {
    let attributes = Attributes { handled_access_fs: 0, handled_access_net: 0, scoped: SCOPED };
    let size = size_of_val(&attributes);
    // SAFETY: the size is the structure's; the descriptor is made and closed here.
    unsafe {
        let rules =
            libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, size, 0_u32);
        check(Step::EnterDomain, rules)?;
        check(Step::EnterDomain, libc::syscall(libc::SYS_landlock_restrict_self, rules, 0_u32))?;
        check(Step::EnterDomain, libc::syscall(libc::SYS_close, rules))
    }
}
