//! The child's side, from the clone to the exec.
//!
//! Nothing here allocates, locks or panics.

use std::os::fd::RawFd;

use super::capabilities::drop_openers;
use super::{
    clone::Entry,
    error::{Failure, Step},
    image::Image,
    signals::Signals,
};

/// Where the child keeps its end of the gate.
const GATE: RawFd = 3;
/// Where the child keeps its end of the report.
const REPORT: RawFd = 4;

/// The child's exit code when it ends before the command: nobody but [`super::HeldChild`] sees it.
const NOT_STARTED: libc::c_int = 127;

/// All that the child has to know.
pub(super) struct Orders<'a> {
    pub(super) image: &'a mut Image,
    pub(super) credentials: Option<Credentials<'a>>,
    pub(super) signals: &'a Signals,
    /// The cgroup's directory.
    pub(super) cgroup: RawFd,
    /// Read end: a byte means go, the end of the pipe means that the parent gave up or died.
    pub(super) gate: RawFd,
    /// Write end: a [`Failure`], or nothing when the command runs.
    pub(super) report: RawFd,
    /// The parent's process id.
    pub(super) parent: libc::pid_t,
}

/// Whom the child becomes.
pub(super) struct Credentials<'a> {
    pub(super) uid: libc::uid_t,
    pub(super) gid: libc::gid_t,
    pub(super) groups: &'a [libc::gid_t],
}

impl Orders<'_> {
    /// Carries the orders out. Ends as the command, or not at all.
    ///
    /// # Safety
    ///
    /// Only for the child of a clone: it closes all descriptors of the process.
    pub(super) unsafe fn carry_out(mut self, entry: Entry) -> ! {
        let mut report = self.report;
        // SAFETY: the caller keeps the promise.
        if let Err(failure) = unsafe { self.become_command(entry, &mut report) } {
            let bytes = failure.to_bytes();
            // SAFETY: the bytes are valid for their length. A parent that is gone needs no word.
            unsafe { libc::write(report, bytes.as_ptr().cast(), bytes.len()) };
        }
        // SAFETY: ends the process without running the parent's exit handlers.
        unsafe { libc::_exit(NOT_STARTED) }
    }

    /// Returns `Ok` when the gate was closed for good.
    ///
    /// # Safety
    ///
    /// See [`Self::carry_out`].
    unsafe fn become_command(&mut self, entry: Entry, report: &mut RawFd) -> Result<(), Failure> {
        if entry == Entry::Moves {
            enter_cgroup(self.cgroup)?;
        }
        // SAFETY: this process is the child's alone, and so are its descriptors.
        unsafe { self.keep_only_pipes() }?;
        *report = REPORT;
        self.follow_parent()?;
        self.signals.restore_dispositions();
        if !gate_opens() {
            return Ok(());
        }
        drop_openers()?;
        if let Some(credentials) = &self.credentials {
            credentials.assume()?;
        }
        refuse_privileges()?;
        // A change of user clears the wish.
        self.follow_parent()?;
        // Signals that came since the clone arrive here, with their default effect.
        self.signals.restore_mask();
        Err(Failure { step: Step::Execute, errno: self.image.execute() })
    }

    /// Leaves the child with 0 to 2, and its two pipes, which close at the exec (P5).
    ///
    /// # Safety
    ///
    /// Closes descriptors whatever they are.
    unsafe fn keep_only_pipes(&self) -> Result<(), Failure> {
        // SAFETY: dup3 and close_range touch no memory. The parent made both descriptors higher
        // than the places they go to, so neither overwrites the other.
        unsafe {
            check(Step::CloseDescriptors, libc::dup3(self.gate, GATE, libc::O_CLOEXEC).into())?;
            check(Step::CloseDescriptors, libc::dup3(self.report, REPORT, libc::O_CLOEXEC).into())?;
            let first = REPORT as libc::c_uint + 1;
            let closed = libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0_u32);
            check(Step::CloseDescriptors, closed)
        }
    }

    /// Has the kernel kill this process with the thread that cloned it. The jail's cgroup is
    /// what holds the command's descendants; this only makes its end prompt.
    fn follow_parent(&self) -> Result<(), Failure> {
        // SAFETY: PR_SET_PDEATHSIG and getppid touch no memory.
        unsafe {
            let set = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
            check(Step::FollowParent, set.into())?;
            // The parent may have died before the wish was heard.
            if libc::getppid() != self.parent {
                return Err(Failure { step: Step::FollowParent, errno: libc::ESRCH });
            }
        }
        Ok(())
    }
}

impl Credentials<'_> {
    /// Becomes this user for good.
    ///
    /// By raw system calls: the C library's functions change all threads of a process, and here
    /// its list of them is the parent's.
    fn assume(&self) -> Result<(), Failure> {
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

fn enter_cgroup(directory: RawFd) -> Result<(), Failure> {
    // SAFETY: the path is a NUL-terminated constant, the byte a valid buffer of one.
    unsafe {
        let flags = libc::O_WRONLY | libc::O_CLOEXEC;
        let processes = libc::openat(directory, c"cgroup.procs".as_ptr(), flags);
        check(Step::EnterCgroup, processes.into())?;
        check(Step::EnterCgroup, libc::write(processes, b"0".as_ptr().cast(), 1) as libc::c_long)
    }
}

/// Waits at the gate; false when it will never open.
fn gate_opens() -> bool {
    loop {
        let mut byte = 0_u8;
        // SAFETY: the byte is a valid buffer of one.
        match unsafe { libc::read(GATE, (&raw mut byte).cast(), 1) } {
            1 => return true,
            -1 if errno() == libc::EINTR => {}
            _ => return false,
        }
    }
}

/// No program run from here gains privileges: neither sudo nor a set-user-id helper leads out.
fn refuse_privileges() -> Result<(), Failure> {
    // SAFETY: PR_SET_NO_NEW_PRIVS touches no memory.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) };
    check(Step::RefusePrivileges, result.into())
}

pub(super) fn check(step: Step, result: libc::c_long) -> Result<(), Failure> {
    if result == -1 {
        return Err(Failure { step, errno: errno() });
    }
    Ok(())
}

fn errno() -> libc::c_int {
    // SAFETY: the location is valid for the thread's life.
    unsafe { *libc::__errno_location() }
}
