//! What a command has started, without a cgroup to hold it: found by who is whose child. Orphans come
//! to this process, which therefore has to wait for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, pidfd_open, pidfd_send_signal,
        waitid,
    },
};

/// How long processes that were killed may take to go.
const DEATH: Duration = Duration::from_secs(10);

/// Processes that were there before the command, and their descendants: whoever replaced itself by
/// httpjail may have had children.
#[derive(Debug)]
pub(crate) struct Spared(Vec<(i32, u64)>);

impl Spared {
    /// The children that this process has now.
    ///
    /// # Errors
    ///
    /// When `/proc` can't be read.
    pub(crate) fn children() -> io::Result<Self> {
        let own = getpid().as_raw_nonzero().get();
        let children = table()?.into_iter().filter(|(_, process)| process.parent == own);
        Ok(Self(children.map(|(pid, process)| (pid, process.started)).collect()))
    }

    fn holds(&self, pid: i32, process: Process) -> bool {
        self.0.contains(&(pid, process.started))
    }
}

/// Becomes the parent of all orphans among the processes that are started from now on, and hears of
/// their ends, whatever the caller ignores.
///
/// # Errors
///
/// What `prctl(2)` says.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: the default disposition runs no code.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    // SAFETY: PR_SET_CHILD_SUBREAPER takes plain numbers.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for orphans on a thread of its own, so that dead ones don't pile up, until one of `others`
/// ends: whoever started these waits for them.
///
/// # Errors
///
/// When the thread can't be started.
pub(crate) fn bury_orphans(others: [Pid; 2]) -> io::Result<()> {
    let bury = move || {
        while let Some(dead) = next_dead() {
            if others.contains(&dead) {
                return;
            }
            reap(dead);
        }
    };
    thread::Builder::new().name("orphans".to_owned()).spawn(bury).map(drop)
}

/// Kills all descendants of this process that aren't `spared`, and waits until they are gone.
///
/// # Errors
///
/// When some don't go: they belong to other users, or are in an uninterruptible call.
pub(crate) fn kill_all(spared: &Spared) -> io::Result<()> {
    let deadline = Instant::now() + DEATH;
    loop {
        let mut left = BTreeSet::new();
        let mut dying = Vec::new();
        for (pid, process) in descendants(&table()?, spared) {
            if process.is_dead {
                reap(pid);
                continue;
            }
            match kill(pid, process) {
                Ok(Some(pidfd)) => dying.push(pidfd),
                Ok(None) => {}
                Err(_) => drop(left.insert(pid.as_raw_nonzero())),
            }
        }
        if dying.is_empty() {
            return if left.is_empty() { Ok(()) } else { Err(stay(&left)) };
        }
        for pidfd in dying {
            if !wait_for(&pidfd, deadline)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

fn stay(left: &BTreeSet<std::num::NonZeroI32>) -> io::Error {
    let pids: Vec<_> = left.iter().map(ToString::to_string).collect();
    io::Error::other(format!("of other users are the processes {}", pids.join(", ")))
}

/// What is known of a process from its line in `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: i32,
    /// In clock ticks since the start of the machine: an id that was given again has another.
    started: u64,
    is_dead: bool,
}

/// All processes within sight.
fn table() -> io::Result<BTreeMap<i32, Process>> {
    let entries = fs::read_dir("/proc")?.filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(|pid: i32| Some((pid, look_at(pid)?))).collect())
}

fn look_at(pid: i32) -> Option<Process> {
    parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// A line of `/proc/PID/stat` (proc_pid_stat(5)). The name stands in brackets, and may hold others.
fn parse(line: &[u8]) -> Option<Process> {
    let name_end = line.iter().rposition(|byte| *byte == b')')?;
    let mut fields = str::from_utf8(line.get(name_end + 1..)?).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // Field 22; 5 is the next.
    let started = fields.nth(17)?.parse().ok()?;
    Some(Process { parent, started, is_dead: matches!(state, "Z" | "X" | "x") })
}

fn descendants(all: &BTreeMap<i32, Process>, spared: &Spared) -> Vec<(Pid, Process)> {
    let own = getpid().as_raw_nonzero().get();
    let is_ours = |pid: i32| {
        let mut at = pid;
        // No longer than there are processes: the table isn't of one moment, and may have a circle.
        for _ in 0..all.len() {
            match all.get(&at) {
                Some(process) if spared.holds(at, *process) => return false,
                Some(process) if process.parent == own => return true,
                Some(process) => at = process.parent,
                None => return false,
            }
        }
        false
    };
    let found = all.iter().filter(|(pid, _)| is_ours(**pid));
    found.filter_map(|(pid, process)| Some((Pid::from_raw(*pid)?, *process))).collect()
}

/// Kills a process if it is still the one that was seen.
fn kill(pid: Pid, seen: Process) -> io::Result<Option<OwnedFd>> {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(None) };
    // What the descriptor means can't change any more.
    let now = look_at(pid.as_raw_nonzero().get());
    if now.is_none_or(|now| now.started != seen.started) {
        return Ok(None);
    }
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) => Ok(Some(pidfd)),
        Err(rustix::io::Errno::SRCH) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn wait_for(pidfd: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    Ok(poll(&mut fds, Some(&left))? > 0)
}

/// Waits for a child that is dead; another's is none of our business.
fn reap(pid: Pid) {
    let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}

/// A child that has ended and that nobody has waited for; waits for one. `None`: there are no
/// children.
fn next_dead() -> Option<Pid> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    loop {
        // SAFETY: the structure is valid for writing; P_ALL ignores the id.
        let waited = unsafe {
            libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT)
        };
        if waited == 0 {
            // SAFETY: zeroed memory is a valid siginfo_t, and waitid has filled it for a child.
            return Pid::from_raw(unsafe { info.assume_init().si_pid() });
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_whatever_the_name() {
        let rest = "R 7 1 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        for name in ["sh", "a) S 9 (b", ") )"] {
            let seen = parse(format!("12 ({name}) {rest}").as_bytes());
            assert_eq!(seen, Some(Process { parent: 7, started: 4242, is_dead: false }), "{name}");
        }
        assert!(parse(format!("12 (sh) {}", rest.replace('R', "Z")).as_bytes()).unwrap().is_dead);
        assert_eq!(parse(b"12 (sh) R 7"), None);
    }

    #[test]
    fn finds_children_of_children_but_not_those_of_the_spared() {
        let own = getpid().as_raw_nonzero().get();
        let process = |parent| Process { parent, started: 0, is_dead: false };
        let table = [
            (own + 1, process(own)),
            (own + 2, process(own + 1)),
            (own + 3, process(own)),
            (own + 4, process(own + 3)),
            (own + 5, process(1)),
            // A circle.
            (own + 6, process(own + 7)),
            (own + 7, process(own + 6)),
        ];
        let found = descendants(&table.into(), &Spared(vec![(own + 3, 0), (own + 2, 1)]));
        let found: Vec<_> = found.iter().map(|(pid, _)| pid.as_raw_nonzero().get()).collect();
        assert_eq!(found, [own + 1, own + 2]);
    }
}
