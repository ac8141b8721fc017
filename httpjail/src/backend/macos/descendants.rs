//! What a command has started, without an account that holds it: ended with the command.

use std::{
    io,
    mem::size_of,
    thread::sleep,
    time::{Duration, Instant},
};

use httpjail_macos::processes::{Family, Process};
use libc::{c_int, c_void};

/// How long processes that were killed may take to go.
const DEATH: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(10);
/// `PROC_ALL_PIDS` of XNU, bsd/sys/proc_info.h.
const ALL: u32 = 1;
/// `PROC_PIDUNIQIDENTIFIERINFO` of bsd/sys/proc_info_private.h, which asks for no rights.
const UNIQUE: c_int = 17;

/// `struct proc_uniqidentifierinfo` of the same file.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Identifiers {
    uuid: [u8; 16],
    unique: u64,
    parent: u64,
    rest: [u64; 3],
}

/// The process of this id. `None`: there is none, or it has ended. Async-signal-safe.
pub(crate) fn look_at(pid: i32) -> Option<Process> {
    let mut found = Identifiers::default();
    let length = size_of::<Identifiers>() as c_int;
    // SAFETY: the structure is valid for writing, and has that length.
    let got = unsafe { libc::proc_pidinfo(pid, UNIQUE, 0, (&raw mut found).cast(), length) };
    let Identifiers { unique, parent, .. } = found;
    (got == length).then_some(Process { pid, unique, parent })
}

/// Kills the command and all that is known to have come from it, and waits until they are gone.
///
/// # Errors
///
/// When some don't go: they belong to other users, or are in an uninterruptible call.
pub(crate) fn kill_all(family: &mut Family) -> io::Result<()> {
    let deadline = Instant::now() + DEATH;
    loop {
        let members = family.members(&all()?);
        if members.is_empty() {
            return Ok(());
        }
        let mut left = Vec::new();
        for process in &members {
            // SAFETY: takes plain numbers. The process was there a moment ago.
            if unsafe { libc::kill(process.pid, libc::SIGKILL) } == -1
                && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
            {
                left.push(process.pid.to_string());
            }
        }
        if left.len() == members.len() {
            let left = left.join(", ");
            return Err(io::Error::other(format!("of other users are the processes {left}")));
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        sleep(MOMENT);
    }
}

/// All processes that haven't ended.
fn all() -> io::Result<Vec<Process>> {
    // SAFETY: without a buffer, it is asked how long one would be.
    let needed = unsafe { libc::proc_listpids(ALL, 0, std::ptr::null_mut(), 0) };
    let room = usize::try_from(needed).unwrap_or_default() / size_of::<i32>() + 64;
    let mut pids = vec![0_i32; room];
    let length = c_int::try_from(room * size_of::<i32>()).unwrap_or(c_int::MAX);
    let into: *mut c_void = pids.as_mut_ptr().cast();
    // SAFETY: the buffer is valid for writing its length in bytes.
    let got = unsafe { libc::proc_listpids(ALL, 0, into, length) };
    if got <= 0 {
        return Err(io::Error::last_os_error());
    }
    pids.truncate(usize::try_from(got).unwrap_or_default() / size_of::<i32>());
    Ok(pids.into_iter().filter(|pid| *pid > 0).filter_map(look_at).collect())
}
