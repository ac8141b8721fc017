//! Processes: the fork, the users they become, the signals they get.

use std::{
    io::{self, PipeWriter, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, BorrowedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
    ptr,
};

use super::{canary::Canary, descendants};
use crate::backend::user::Identity;

/// Signals that are blocked, and taken by [`next_signal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Those that end a jail, or a command, when they are sent to httpjail; what a terminal sends is
    /// ignored.
    WithCommand,
    /// All that are about a process that stands alone.
    Alone,
}

impl Held {
    fn signals(self) -> &'static [i32] {
        match self {
            Self::WithCommand => &[libc::SIGTERM, libc::SIGHUP],
            Self::Alone => &[libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT],
        }
    }

    fn set(self) -> libc::sigset_t {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset writes the set before it is read, and the signals exist.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in self.signals() {
                libc::sigaddset(set.as_mut_ptr(), *signal);
            }
            set.assume_init()
        }
    }
}

/// Those that a terminal sends to all of a job: the command gets them by itself.
const OF_TERMINAL: [i32; 2] = [libc::SIGINT, libc::SIGQUIT];

/// `NGROUPS_MAX` of XNU, bsd/sys/syslimits.h.
const MOST_GROUPS: usize = 16;

/// Puts what `by` names in the place of what `descriptor` names, at once for all threads.
///
/// # Errors
///
/// What `dup2(2)` says.
pub(crate) fn replace(descriptor: RawFd, by: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open; whoever owns `descriptor` goes on with another file.
    match unsafe { libc::dup2(by.as_raw_fd(), descriptor) } {
        -1 => Err(io::Error::last_os_error()),
        _ => mark_close_on_exec(descriptor),
    }
}

/// As all descriptors of this process are, but for the standard ones.
fn mark_close_on_exec(descriptor: RawFd) -> io::Result<()> {
    if descriptor <= 2 {
        return Ok(());
    }
    // SAFETY: takes plain numbers.
    match unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fork {
    /// The one that was there before, with the id of the other.
    Parent(i32),
    /// The new one.
    Child,
}

/// Forks. To be called while there is one thread, so that the child may go on as it likes.
///
/// # Errors
///
/// What `fork(2)` says.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: no other thread holds a lock that the child would wait for; the caller sees to it.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// Ends this process at once, without what `main` of the parent has to do.
pub(crate) fn exit(code: u8) -> ! {
    // SAFETY: takes a plain number and doesn't return.
    unsafe { libc::_exit(code.into()) }
}

/// Waits until a child has ended.
pub(crate) fn reap(pid: i32) {
    // SAFETY: no status is written through a null pointer.
    while unsafe { libc::waitpid(pid, ptr::null_mut(), 0) } == -1
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// Waits until a child has ended, and leaves it to be reaped.
pub(crate) fn await_end(pid: i32) {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let Some(pid) = Pid::from_raw(pid) else { return };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
}

/// Sends a signal; a process that has just ended needs it no more.
pub(crate) fn signal(pid: i32, signal: i32) {
    // SAFETY: takes plain numbers.
    if unsafe { libc::kill(pid, signal) } == -1 {
        tracing::debug!(error = %io::Error::last_os_error(), "a signal was not sent");
    }
}

/// Becomes this user for good, without other groups.
///
/// # Errors
///
/// When that fails, or when root is still in reach.
pub(crate) fn become_user(user: &Identity) -> io::Result<()> {
    become_member(user, &[user.gid()])
}

/// Becomes this user for good, with as many of the user's groups as a process can have.
/// Async-signal-safe.
///
/// # Errors
///
/// As [`become_user`].
pub(crate) fn become_whole_user(user: &Identity) -> io::Result<()> {
    let groups = user.groups();
    become_member(user, groups.get(..MOST_GROUPS).unwrap_or(groups))
}

fn become_member(user: &Identity, groups: &[libc::gid_t]) -> io::Result<()> {
    let gid = user.gid();
    let count = libc::c_int::try_from(groups.len()).unwrap_or_default();
    // SAFETY: the groups are valid for their number; the others take plain numbers.
    let failed = unsafe {
        libc::setgroups(count, groups.as_ptr()) == -1
            || libc::setgid(gid) == -1
            || libc::setuid(user.uid()) == -1
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes a plain number.
    if user.uid() != 0 && unsafe { libc::setuid(0) } == 0 {
        return Err(io::Error::other("root's rights could not be given up"));
    }
    Ok(())
}

/// Keeps signals from ending this process in its midst, and its threads and children.
///
/// # Errors
///
/// What the system says.
pub(crate) fn hold_signals(held: Held) -> io::Result<()> {
    let ignored: &[i32] = match held {
        Held::WithCommand => &OF_TERMINAL,
        Held::Alone => &[],
    };
    for signal in ignored {
        // SAFETY: ignoring runs no code.
        if unsafe { libc::signal(*signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    let set = held.set();
    // SAFETY: the set is valid for the call, and the old one isn't asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Waits for a signal that [`hold_signals`] has blocked.
///
/// # Errors
///
/// What `sigwait(2)` says.
pub(crate) fn next_signal(held: Held) -> io::Result<i32> {
    let (set, mut signal) = (held.set(), 0);
    // SAFETY: both are valid for the call.
    match unsafe { libc::sigwait(&raw const set, &raw mut signal) } {
        0 => Ok(signal),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Keeps other programs of the same user from tracing this process (P12). It doesn't keep out tools that
/// Apple has signed for reading memory.
///
/// # Errors
///
/// What the system says.
pub(crate) fn hide() -> io::Result<()> {
    // SAFETY: no address is given, and none is used.
    match unsafe { libc::ptrace(libc::PT_DENY_ATTACH, 0, ptr::null_mut(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Keeps this process's memory from being written to a file. What it starts from now on inherits that.
///
/// # Errors
///
/// What the system says.
pub(crate) fn forgo_core_dumps() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}

/// Lets `command` be run as `user`, or as the caller, with the signals as they are usual. `told`
/// becomes what is known of its process before it does anything.
pub(crate) fn told<'a>(
    command: &'a mut Command,
    user: Option<&Identity>,
    told: PipeWriter,
) -> &'a mut Command {
    let user = user.cloned();
    let prepare = move || {
        for signal in OF_TERMINAL {
            // SAFETY: the default runs no code.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        // SAFETY: takes nothing and can't fail.
        let own = descendants::look_at(unsafe { libc::getpid() });
        (&told).write_all(&own.map_or(0, |own| own.unique).to_ne_bytes())?;
        user.as_ref().map_or(Ok(()), become_whole_user)
    };
    // SAFETY: the process that forks has one thread, and the closure only makes system calls.
    unsafe { command.pre_exec(prepare) }
}

/// Lets `command` be run as `user`, with the signals as they are usual, once `canary` has shown that
/// the jail is shut. (The standard library changes the user, and drops all other groups, before it
/// runs what is given here, and unblocks all signals.)
pub(crate) fn jailed<'a>(
    command: &'a mut Command,
    user: &Identity,
    canary: Canary,
) -> &'a mut Command {
    command.uid(user.uid()).gid(user.gid());
    let prepare = move || {
        for signal in OF_TERMINAL {
            // SAFETY: the default runs no code.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        canary.sing()
    };
    // SAFETY: the process that forks has one thread, so the closure may use memory and sockets.
    unsafe { command.pre_exec(prepare) }
}

/// Ends all processes of a user who has none that matter.
///
/// # Errors
///
/// When some are left.
pub(crate) fn end_all_of(user: &Identity) -> io::Result<()> {
    use std::{thread::sleep, time::Duration};
    for _ in 0..100 {
        let mut pkill = Command::new("/usr/bin/pkill");
        // pkill(1): exit status 1 when no process matched.
        let status = pkill.args(["-KILL", "-U", &user.uid().to_string()]).status()?;
        if status.code() == Some(1) {
            return Ok(());
        }
        sleep(Duration::from_millis(50));
    }
    Err(io::Error::other("processes of the jail's user can't be ended"))
}
