//! Roles: forked parts of httpjail that live without its privileges.
//!
//! A role is forked, not executed anew: 5 µs instead of 700 (a new program has to be mapped and
//! linked), and nothing of it is left for the jailed user to start.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    panic::{self, AssertUnwindSafe},
    path::Path,
};

use rustix::{
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
    },
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities,
    },
};

use super::user::Identity;

/// What a role keeps of the process that it is forked from.
#[derive(Debug)]
pub(crate) struct RolePlan<'a> {
    /// The name in `ps`, at most 15 bytes.
    pub(crate) name: &'static std::ffi::CStr,
    /// Whom it lives as.
    pub(crate) user: RoleUser<'a>,
    /// The cgroup that it moves to, and all that it starts.
    pub(crate) cgroup: Option<&'a Path>,
    /// The descriptors that it needs. Standard error stays too; all others are closed.
    pub(crate) keep: Vec<RawFd>,
}

/// Whom a role lives as. It has no capabilities, whoever that is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RoleUser<'a> {
    /// A user and group of this id, which nobody else has.
    Own(u32),
    /// The user who called; `None`: who runs this process.
    Invoking(Option<&'a Identity>),
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
pub(crate) fn fork(plan: &RolePlan<'_>, main: impl FnOnce() -> u8) -> io::Result<Role> {
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
fn shed(plan: &RolePlan<'_>) -> io::Result<()> {
    if let Some(cgroup) = plan.cgroup {
        fs::write(cgroup.join("cgroup.procs"), "0")?;
    }
    // Its own session: the terminal's ^C and ^Z are for the command, not for its proxy.
    rustix::process::setsid()?;
    close_others(&plan.keep)?;
    // SAFETY: PR_SET_NAME reads a NUL-terminated string that outlives the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, plan.name.as_ptr()) };
    rustix::thread::set_no_new_privs(true)?;
    unbind_capabilities();
    match plan.user {
        RoleUser::Own(id) => become_user(id, id, &[])?,
        RoleUser::Invoking(Some(user)) => become_user(user.uid(), user.gid(), user.groups())?,
        RoleUser::Invoking(None) => {}
    }
    // Whoever stays root loses them here, and gets none back by executing a program.
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, none)?;
    // Also undone by a change of user ids, so it stands last: no core dump, no ptrace and no
    // /proc/PID/mem for anybody without CAP_SYS_PTRACE.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Takes every capability out of the bounding set, and with it out of what root's programs get. A
/// process that may not do that is no root's, and has none to lose.
fn unbind_capabilities() {
    for capability in CapabilitySet::all().iter() {
        // A kernel that is older than the capability doesn't know it.
        let _ = remove_capability_from_bounding_set(capability);
    }
    let _ = clear_ambient_capability_set();
}

/// Drops groups, then group id, then user id; the capabilities of a root process go with them.
fn become_user(uid: u32, gid: u32, groups: &[libc::gid_t]) -> io::Result<()> {
    // The raw calls act on this thread, which is the only one.
    // SAFETY: the groups are valid for their length; the ids are plain numbers.
    let failed = unsafe {
        libc::setgroups(groups.len(), groups.as_ptr()) != 0
            || libc::setresgid(gid, gid, gid) != 0
            || libc::setresuid(uid, uid, uid) != 0
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
