//! Processes: the fork, the users they become, the signals they get.

use std::{io, mem::MaybeUninit, os::unix::process::CommandExt, process::Command, ptr};

use super::canary::Canary;
use crate::backend::user::Identity;

/// The signals that end a jail when they are sent to httpjail. They are blocked, and taken by
/// [`next_signal`].
const ENDING: [i32; 2] = [libc::SIGTERM, libc::SIGHUP];
/// Those that a terminal sends to all of a job: the command gets them by itself.
const OF_TERMINAL: [i32; 2] = [libc::SIGINT, libc::SIGQUIT];

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

/// Sends a signal; a process that has just ended needs it no more.
pub(crate) fn signal(pid: i32, signal: i32) {
    // SAFETY: takes plain numbers.
    if unsafe { libc::kill(pid, signal) } == -1 {
        tracing::debug!(error = %io::Error::last_os_error(), "a signal was not sent");
    }
}

/// Becomes this user for good.
///
/// # Errors
///
/// When that fails, or when root is still in reach.
pub(crate) fn become_user(user: &Identity) -> io::Result<()> {
    let gid = user.gid();
    // SAFETY: one group is given, and is valid for the call; the others take plain numbers.
    let failed = unsafe {
        libc::setgroups(1, &raw const gid) == -1
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
pub(crate) fn hold_signals() -> io::Result<()> {
    for signal in OF_TERMINAL {
        // SAFETY: ignoring runs no code.
        if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    let set = ending();
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
pub(crate) fn next_signal() -> io::Result<i32> {
    let (set, mut signal) = (ending(), 0);
    // SAFETY: both are valid for the call.
    match unsafe { libc::sigwait(&raw const set, &raw mut signal) } {
        0 => Ok(signal),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn ending() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset writes the set before it is read, and the signals exist.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in ENDING {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
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
