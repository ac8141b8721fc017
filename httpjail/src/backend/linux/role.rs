//! Roles: forked parts of httpjail that live without its privileges.
//!
//! A role is forked, not executed anew: 5 µs instead of 700 (a new program has to be mapped and
//! linked), and nothing of it is left for the jailed user to start.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    panic::{self, AssertUnwindSafe},
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

/// What a role keeps of the process that it is forked from.
#[derive(Debug)]
pub(crate) struct RolePlan {
    /// The name in `ps`, at most 15 bytes.
    pub(crate) name: &'static std::ffi::CStr,
    /// User and group id that it lives under, when httpjail runs as root.
    pub(crate) uid: Option<u32>,
    /// The descriptors that it needs. Standard error stays too; all others are closed.
    pub(crate) keep: Vec<RawFd>,
}

/// A running role.
#[derive(Debug)]
pub(crate) struct Role {
    /// Its id, until somebody has waited for it.
    pub(crate) pid: Pid,
    /// Readable once it has ended.
    pub(crate) pidfd: OwnedFd,
}

impl Role {
    /// Waits for its end, and gives its exit status; none if a signal ended it, or if somebody has
    /// waited for it already.
    pub(crate) fn reap(&self) -> Option<i32> {
        let ended = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        ended
            .inspect_err(|error| tracing::debug!(%error, "a role was not reaped"))
            .ok()??
            .exit_status()
    }

    /// Ends it, if it hasn't ended, and reaps it, if nobody has.
    pub(crate) fn kill(&self) {
        if pidfd_send_signal(&self.pidfd, Signal::KILL).is_ok() {
            self.reap();
        }
    }
}

/// Forks `main` off as a role of its own. `main`'s result is its exit status; in the caller it is
/// dropped, with what it owns.
///
/// Must be called while the process has one thread: the child may then allocate and start threads
/// of its own.
///
/// # Errors
///
/// What `fork(2)` or `pidfd_open(2)` says. A role that can't give its privileges up ends with
/// status 125 before `main` runs.
pub(crate) fn fork(plan: &RolePlan, main: impl FnOnce() -> u8) -> io::Result<Role> {
    // SAFETY: the process has one thread (documented above), so the child's copy of the
    // allocator and of every lock is in a usable state.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        // A panic must not unwind into the supervisor's frames, which this process shares.
        let status = panic::catch_unwind(AssertUnwindSafe(|| match shed(plan) {
            Ok(()) => main(),
            Err(error) => {
                eprintln!("httpjail: failed to give up privileges for a role: {error}");
                125
            }
        }))
        .unwrap_or(125);
        // SAFETY: _exit takes any status and doesn't return; the supervisor's destructors and
        // exit handlers must not run a second time here.
        unsafe { libc::_exit(status.into()) }
    }
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("fork returned no pid"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Role { pid, pidfd })
}

/// Gives up what the role doesn't need: terminal, descriptors, user id, capabilities.
fn shed(plan: &RolePlan) -> io::Result<()> {
    // Its own session: the terminal's ^C and ^Z are for the command, not for its proxy.
    rustix::process::setsid()?;
    close_others(&plan.keep)?;
    // SAFETY: PR_SET_NAME reads a NUL-terminated string that outlives the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, plan.name.as_ptr()) };
    rustix::thread::set_no_new_privs(true)?;
    if let Some(uid) = plan.uid {
        become_user(uid)?;
    }
    // Also undone by a change of user ids, so it stands last: no core dump, no ptrace and no
    // /proc/PID/mem for anybody without CAP_SYS_PTRACE.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Drops groups, then group id, then user id; the capabilities of a root process go with them.
fn become_user(id: u32) -> io::Result<()> {
    // The raw calls act on this thread, which is the only one.
    // SAFETY: an empty group list needs no memory; the ids are plain numbers.
    let failed = unsafe {
        libc::setgroups(0, std::ptr::null()) != 0
            || libc::setresgid(id, id, id) != 0
            || libc::setresuid(id, id, id) != 0
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes every descriptor but standard error and `keep`; standard input and output become
/// `/dev/null`, so that the caller's pipes end when the command ends.
fn close_others(keep: &[RawFd]) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for target in [0, 1] {
        // SAFETY: both descriptors are valid; dup2 replaces the target at once.
        if unsafe { libc::dup2(null.as_raw_fd(), target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    drop(null);
    let mut kept: Vec<RawFd> = keep.iter().copied().filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    kept.dedup();
    let mut from = 3;
    for fd in kept {
        close_range(from, fd - 1)?;
        from = fd + 1;
    }
    close_range(from, RawFd::MAX)
}

/// Closes the descriptors `first..=last` (Linux 5.9).
fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: only numbers are passed; the role uses none of the closed descriptors (its
    // closures own only what is in `keep`).
    let failed = unsafe {
        libc::syscall(libc::SYS_close_range, first as libc::c_uint, last as libc::c_uint, 0)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
