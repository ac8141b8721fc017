//! Roles: forked parts of httpjail that have none of root's rights, and nothing of the jail's.
//!
//! What runs in one must not need more of Apple's libraries than system calls and memory: they promise
//! nothing else to a process that was forked and executes nothing. So the proxy, which looks names up,
//! is never one.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd, RawFd},
    panic::{self, AssertUnwindSafe},
};

use super::process::{self, Fork};
use crate::backend::user::Identity;

/// Forks `main` off as a role that lives as `user`, or as who runs this process, and keeps the
/// descriptors `keep` and standard error. `main`'s result is its exit status; in the caller it is
/// dropped, with what it owns. The role's id.
///
/// Must be called while the process has one thread.
///
/// # Errors
///
/// What `fork(2)` says. A role that can't give its rights up ends with status 125.
pub(crate) fn fork(
    user: Option<&Identity>,
    keep: &[RawFd],
    main: impl FnOnce() -> u8,
) -> io::Result<i32> {
    match process::fork()? {
        Fork::Parent(pid) => Ok(pid),
        Fork::Child => {
            // A panic must not unwind into the frames of the parent, which this process shares.
            let status = panic::catch_unwind(AssertUnwindSafe(|| match shed(user, keep) {
                Ok(()) => main(),
                Err(error) => {
                    eprintln!("httpjail: failed to give up privileges for a role: {error}");
                    125
                }
            }));
            process::exit(status.unwrap_or(125))
        }
    }
}

/// Gives up what the role doesn't need: terminal, descriptors, root's rights.
fn shed(user: Option<&Identity>, keep: &[RawFd]) -> io::Result<()> {
    // Its own session: the terminal's ^C is for the command.
    rustix::process::setsid()?;
    close_others(keep)?;
    user.map_or(Ok(()), process::become_whole_user)?;
    process::hide()
}

/// Closes every descriptor but standard error and `keep`; standard input and output become
/// `/dev/null`.
fn close_others(keep: &[RawFd]) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for target in [0, 1] {
        // SAFETY: both descriptors are valid; dup2 replaces the target at once.
        if unsafe { libc::dup2(null.as_raw_fd(), target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    drop(null);
    let open = fs::read_dir("/dev/fd")?;
    // Read to its end before any is closed; the listing's own is among them, and closed by then.
    let open: Vec<RawFd> = open
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2 && !keep.contains(fd))
        .collect();
    for fd in open {
        // SAFETY: the role uses none of these; its closures own only what is in `keep`.
        unsafe { libc::close(fd) };
    }
    Ok(())
}
