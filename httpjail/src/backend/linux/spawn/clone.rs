//! Makes the child, in namespaces of its own, and in its cgroup from its first instruction where
//! the kernel lets us.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// `include/uapi/linux/sched.h`; libc's constant is of a type too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The namespaces that the child begins: it is the first process of one, so that its end ends all
/// others, and its mounts are its own.
const NAMESPACES: libc::c_int = libc::CLONE_NEWPID | libc::CLONE_NEWNS;

/// How the child comes to its cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The kernel places it there (`CLONE_INTO_CGROUP`, Linux 5.7).
    Born,
    /// It moves itself there before anything else.
    Moves,
}

/// Both sides of a clone.
pub(super) enum Cloned {
    /// In the parent: the child.
    Parent {
        /// Its process id.
        pid: Pid,
        /// A descriptor that means this process and no later one of the same id.
        pidfd: OwnedFd,
    },
    /// In the child.
    Child(Entry),
}

/// Clones the process into the cgroup whose directory `cgroup` is.
///
/// Container engines refuse `clone3` by seccomp, because its arguments are out of the filter's
/// reach: with ENOSYS, or EPERM in older ones. Then the child is forked and has to move itself.
///
/// # Safety
///
/// In the child, only async-signal-safe functions may be called, and it must not return to code
/// that doesn't know so.
pub(super) unsafe fn clone_into(cgroup: BorrowedFd<'_>) -> io::Result<Cloned> {
    // SAFETY: the caller keeps the promise.
    match unsafe { clone3_into(cgroup) } {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            // SAFETY: the caller keeps the promise.
            unsafe { fork(cgroup) }
        }
        outcome => outcome,
    }
}

/// # Safety
///
/// See [`clone_into`].
pub(super) unsafe fn clone3_into(cgroup: BorrowedFd<'_>) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all fields are integers; zero means "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = ((libc::CLONE_PIDFD | NAMESPACES) as u64) | CLONE_INTO_CGROUP;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = cgroup.as_raw_fd() as u64;
    // SAFETY: without CLONE_VM the child gets a copy of this stack, as with fork.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of_val(&args)) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child(Entry::Born)),
        pid => {
            // SAFETY: the kernel has just stored a descriptor that nobody else knows.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: known_pid(pid), pidfd })
        }
    }
}

/// Leaves it to the child to enter the cgroup.
///
/// # Safety
///
/// See [`clone_into`].
pub(super) unsafe fn fork(_cgroup: BorrowedFd<'_>) -> io::Result<Cloned> {
    // The raw call, not libc's fork: that one runs atfork handlers, which may take locks.
    // SAFETY: a null stack and no CLONE_VM: the child gets a copy of this one.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone,
            (libc::SIGCHLD | NAMESPACES) as libc::c_ulong,
            0_usize,
            0_usize,
            0_usize,
            0_usize,
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child(Entry::Moves)),
        pid => {
            let pid = known_pid(pid);
            // Nobody has waited for the child, so the id is still its own.
            Ok(Cloned::Parent { pid, pidfd: pidfd_open(pid, PidfdFlags::empty())? })
        }
    }
}

fn known_pid(raw: libc::c_long) -> Pid {
    i32::try_from(raw).ok().and_then(Pid::from_raw).expect("the kernel gives a new process an id")
}
