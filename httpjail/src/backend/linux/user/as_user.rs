//! Opening files with the rights of the invoking user.

use super::Identity;

/// Runs `open` with file-system rights of `identity` instead of root's; other rights stay.
///
/// The kernel keeps these ids for each thread (setfsuid(2)), so `open` must not hand its work to
/// another one. A root process drops CAP_DAC_OVERRIDE and the like with them and gets them back
/// after.
pub(crate) fn as_user<T>(identity: Option<&Identity>, open: impl FnOnce() -> T) -> T {
    let Some(identity) = identity else { return open() };
    let _restored = Restore;
    // SAFETY: both calls take plain numbers and can't fail for a root process.
    unsafe {
        libc::setfsgid(identity.gid());
        libc::setfsuid(identity.uid());
    }
    open()
}

/// Gives root its rights back, also when `open` panics.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        // SAFETY: as above; the effective ids are still root's.
        unsafe {
            libc::setfsuid(libc::geteuid());
            libc::setfsgid(libc::getegid());
        }
    }
}
