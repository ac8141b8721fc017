//! The child's side, from the clone until it goes on as the jail's init.
//!
//! Nothing here allocates, locks or panics.

use std::os::fd::RawFd;

use super::{
    canary::Attempts,
    capabilities::drop_openers,
    clone::Entry,
    credentials::Credentials,
    error::{Failure, Step},
    guards::{Guards, Privileges},
    image::Image,
    init::Init,
    signals::Signals,
};

/// Where the child keeps its end of the gate.
const GATE: RawFd = 3;
/// Where the child keeps its end of the report.
pub(super) const REPORT: RawFd = 4;
/// Where the child keeps its end of the status.
const STATUS: RawFd = 5;

/// The exit code of a process that ends before the command: nobody but [`super::HeldChild`] sees
/// it.
pub(super) const NOT_STARTED: libc::c_int = 127;

/// All that the child has to know.
pub(super) struct Orders<'a> {
    pub(super) image: &'a mut Image,
    pub(super) credentials: Option<Credentials<'a>>,
    pub(super) signals: &'a Signals,
    pub(super) guards: &'a Guards,
    pub(super) canary: &'a mut Attempts,
    /// Where the command's process begins to run.
    pub(super) stack: &'a mut [u8],
    /// The cgroup's directory.
    pub(super) cgroup: RawFd,
    /// Read end: a byte means go, the end of the pipe means that the parent gave up or died.
    pub(super) gate: RawFd,
    /// Write end: a [`Failure`], or nothing when the command runs.
    pub(super) report: RawFd,
    /// Write end: a byte when all is ready, then how the command ended.
    pub(super) status: RawFd,
    /// What goes to which of the descriptors 0 to 2.
    pub(super) streams: &'a [(RawFd, RawFd)],
}

impl Orders<'_> {
    /// Carries the orders out. Ends as init, when the command has ended.
    ///
    /// # Safety
    ///
    /// Only for the child of a clone: it closes all descriptors of the process.
    pub(super) unsafe fn carry_out(mut self, entry: Entry) -> ! {
        let mut report = self.report;
        // SAFETY: the caller keeps the promise.
        let done = unsafe { self.strip(entry, &mut report) }.and_then(|()| {
            // SAFETY: a valid buffer of one. A parent that is gone closes the gate, too.
            unsafe { libc::write(STATUS, b"r".as_ptr().cast(), 1) };
            if !gate_opens() {
                return Ok(());
            }
            let Self { image, signals, stack, canary, .. } = self;
            canary.make()?;
            Init { image, signals, stack, status: STATUS }.run()
        });
        let code = match done {
            Ok(()) => 0,
            Err(failure) => {
                failure.report(report);
                NOT_STARTED
            }
        };
        // SAFETY: ends the process without running the parent's exit handlers.
        unsafe { libc::_exit(code) }
    }

    /// Takes from the child all that the command must not have; the command inherits the rest.
    ///
    /// # Safety
    ///
    /// See [`Self::carry_out`].
    unsafe fn strip(&mut self, entry: Entry, report: &mut RawFd) -> Result<(), Failure> {
        if entry == Entry::Moves {
            enter_cgroup(self.cgroup)?;
        }
        // SAFETY: this process is the child's alone, and so are its descriptors.
        unsafe { self.keep_only_pipes() }?;
        *report = REPORT;
        self.signals.forget_handlers();
        // SAFETY: this process was forked and does nothing but what is here.
        unsafe { self.guards.command_line.replace() };
        self.guards.view.make()?;
        self.guards.stand_ins.make()?;
        // Both take CAP_SYS_ADMIN or no_new_privs, and there may be no no_new_privs to come. What
        // follows is within the filter.
        if let Some(domain) = &self.guards.domain {
            domain.enter()?;
        }
        self.guards.filter.install()?;
        drop_openers()?;
        if let Some(credentials) = &self.credentials {
            credentials.assume()?;
        }
        match self.guards.privileges {
            Privileges::Refused => refuse_privileges()?,
            Privileges::Gained => {}
        }
        // Init runs as the command's user, who must not take it over.
        // SAFETY: PR_SET_DUMPABLE takes a plain number.
        let hidden = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0_u64, 0_u64, 0_u64, 0_u64) };
        check(Step::HideInit, hidden.into())?;
        // A change of user clears the wish, so it stands after it.
        follow_parent()
    }

    /// Leaves the child with 0 to 2, and its pipes, which close at the exec (P5).
    ///
    /// # Safety
    ///
    /// Closes descriptors whatever they are.
    unsafe fn keep_only_pipes(&self) -> Result<(), Failure> {
        for (from, to) in [(self.gate, GATE), (self.report, REPORT), (self.status, STATUS)] {
            // SAFETY: dup3 touches no memory. The parent made all descriptors higher than the
            // places they go to, so none overwrites another.
            let moved = unsafe { libc::dup3(from, to, libc::O_CLOEXEC) };
            check(Step::CloseDescriptors, moved.into())?;
        }
        for &(from, to) in self.streams {
            // SAFETY: as above.
            check(Step::CloseDescriptors, unsafe { libc::dup2(from, to) }.into())?;
        }
        let first = STATUS as libc::c_uint + 1;
        // SAFETY: close_range touches no memory, and nothing uses what it closes.
        let closed =
            unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0_u32) };
        check(Step::CloseDescriptors, closed)
    }
}

/// Has the kernel kill init, and with it the jail's processes, with the thread that cloned it.
fn follow_parent() -> Result<(), Failure> {
    // SAFETY: PR_SET_PDEATHSIG touches no memory.
    let set = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) };
    check(Step::FollowParent, set.into())?;
    // The parent may have died before the wish was heard. It has no id in this namespace by
    // which to tell; but the report has a reader for as long as it lives.
    let mut report = libc::pollfd { fd: REPORT, events: 0, revents: 0 };
    // SAFETY: one valid pollfd.
    check(Step::FollowParent, unsafe { libc::poll(&raw mut report, 1, 0) }.into())?;
    if report.revents & libc::POLLERR != 0 {
        return Err(Failure { step: Step::FollowParent, errno: libc::ESRCH });
    }
    Ok(())
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

pub(super) fn errno() -> libc::c_int {
    // SAFETY: the location is valid for the thread's life.
    unsafe { *libc::__errno_location() }
}
