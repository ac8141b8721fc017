//! Whom the child becomes.

use super::{
    child::check,
    error::{Failure, Step},
};

/// Whom the child becomes.
pub(super) struct Credentials<'a> {
    pub(super) uid: libc::uid_t,
    pub(super) gid: libc::gid_t,
    pub(super) groups: &'a [libc::gid_t],
}

impl Credentials<'_> {
    /// Becomes this user for good.
    ///
    /// By raw system calls: the C library's functions change all threads of a process, and here
    /// its list of them is the parent's.
    pub(super) fn assume(&self) -> Result<(), Failure> {
        // SAFETY: the groups are valid for their length; the other calls take plain numbers.
        unsafe {
            let (count, groups) = (self.groups.len(), self.groups.as_ptr());
            check(Step::SetGroups, libc::syscall(libc::SYS_setgroups, count, groups))?;
            let (uid, gid) = (self.uid, self.gid);
            check(Step::SetGroup, libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
            check(Step::SetUser, libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
            // Leaving root must have left its capabilities, too; if not, root is still in reach.
            if uid != 0 && libc::syscall(libc::SYS_setresuid, 0, 0, 0) == 0 {
                return Err(Failure { step: Step::SetUser, errno: libc::EPERM });
            }
        }
        Ok(())
    }
}
