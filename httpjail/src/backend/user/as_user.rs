//! Opening files with the rights of the invoking user.

use super::Identity;

/// Runs `open` with file-system rights of `identity` instead of root's; other rights stay.
///
/// Linux keeps these ids for each thread (setfsuid(2)), so `open` must not hand its work to another
/// one. A root process drops CAP_DAC_OVERRIDE and the like with them and gets them back after.
/// macOS knows effective ids of the whole process alone: there, no other thread may run yet.
pub(crate) fn as_user<T>(identity: Option<&Identity>, open: impl FnOnce() -> T) -> T {
    let Some(identity) = identity else { return open() };
    let _restored = Restore;
    assume(identity);
    open()
}

/// Gives root its rights back, also when `open` panics.
struct Restore;

#[cfg(target_os = "linux")]
fn assume(identity: &Identity) {
    // SAFETY: both calls take plain numbers and can't fail for a root process.
    unsafe {
        libc::setfsgid(identity.gid());
        libc::setfsuid(identity.uid());
    }
}

#[cfg(target_os = "linux")]
impl Drop for Restore {
    fn drop(&mut self) {
        // SAFETY: as above; the effective ids are still root's.
        unsafe {
            libc::setfsuid(libc::geteuid());
            libc::setfsgid(libc::getegid());
        }
    }
}

#[cfg(target_os = "macos")]
fn assume(identity: &Identity) {
    // SAFETY: both calls take plain numbers and can't fail for a root process.
    unsafe {
        libc::setegid(identity.gid());
        libc::seteuid(identity.uid());
    }
}

#[cfg(target_os = "macos")]
impl Drop for Restore {
    fn drop(&mut self) {
        // SAFETY: as above; the real ids are still root's.
        unsafe {
            libc::seteuid(libc::getuid());
            libc::setegid(libc::getgid());
        }
    }
}
