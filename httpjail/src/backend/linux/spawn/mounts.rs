//! What the jail sees of the machine's file systems: its own processes in `/proc`.

use std::{ffi::CStr, ptr};

use super::{
    child::check,
    error::{Failure, Step},
};

/// What is changed in the jail's own mount namespace.
#[derive(Debug, Default)]
pub(super) struct Mounts {}

impl Mounts {
    /// Changes it. Async-signal-safe.
    pub(super) fn make(&self) -> Result<(), Failure> {
        // What is mounted outside later shows in here; nothing that is done here shows outside.
        mount(None, c"/", None, libc::MS_REC | libc::MS_SLAVE)?;
        let plain = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        mount(Some(c"proc"), c"/proc", Some(c"proc"), plain)
    }
}

/// mount(2) without data.
fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
) -> Result<(), Failure> {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: all strings are NUL-terminated and outlive the call; null means none.
    let result =
        unsafe { libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, ptr::null()) };
    check(Step::Mount, result.into())
}
