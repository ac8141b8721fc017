//! The process that keeps the rights that httpjail was started with: it starts the command, ends it and
//! what came from it, and undoes what stands in pf. It reads nothing that comes from the command.

use std::{
    ffi::OsString,
    io::{self, PipeReader, Read, Write},
    os::{
        fd::AsFd,
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use httpjail_macos::processes::Family;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{guard::Guard, report::Report};
use crate::{
    backend::{
        macos::{canary::Canary, descendants, process},
        user::Identity,
    },
    session::{Outcome, told::folder::Folder},
};

/// How long the command has to end after a signal to httpjail.
const GRACE: Duration = Duration::from_secs(10);

/// All that it needs, made before the fork.
pub(super) struct Keeper {
    pub(super) command: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) timeout: Option<Duration>,
    pub(super) hold: Hold,
}

/// What holds the command.
pub(super) enum Hold {
    /// An account of its own, and pf's rules for it.
    Jail { account: Identity, canary: Canary, guard: Guard },
    /// Nothing: it is told of the proxy. The folder holds what it must trust.
    Told { user: Option<Identity>, folder: Folder },
}

impl Keeper {
    /// Its life. `proxy` brings signals to pass on, and takes the report.
    pub(super) fn keep(self, mut proxy: UnixStream) -> ! {
        let report = match self.start() {
            Ok((command, family)) => {
                if let Err(error) = process::forgo_core_dumps() {
                    tracing::warn!(%error, "a crash of this process could write its memory down");
                }
                let ended = self.watch(command, &proxy).unwrap_or_else(|error| {
                    tracing::error!(%error, "the command can't be waited for, and was ended");
                    Outcome::Signalled(low_byte(libc::SIGKILL))
                });
                self.hold.end(family, Report::Ended(ended))
            }
            Err(error) => self.hold.end(None, Report::Unstarted(errno(&error))),
        };
        let told = proxy.write_all(&report.encode());
        process::exit(u8::from(told.is_err()))
    }

    /// Leaves what it would undo to the process that was forked.
    pub(super) fn leave(mut self) {
        match &mut self.hold {
            Hold::Jail { guard, .. } => guard.leave(),
            Hold::Told { folder, .. } => folder.leave(),
        }
    }

    /// Starts the command. Where no account tells what comes from it, its family does.
    fn start(&self) -> io::Result<(Child, Option<Family>)> {
        // The key of the run's authority is in this process's memory, too.
        process::hide()?;
        let mut command = Command::new(&self.command);
        command.args(&self.args).env_clear().envs(self.environment.iter().cloned());
        match &self.hold {
            Hold::Jail { account, canary, .. } => {
                process::jailed(&mut command, account, canary.clone()).spawn().map(|it| (it, None))
            }
            Hold::Told { user, .. } => {
                let (mut says, told) = io::pipe()?;
                let started = process::told(&mut command, user.as_ref(), told).spawn()?;
                // The command has its own end no more, and this process lets go of the other.
                drop(command);
                let mut unique = [0; 8];
                says.read_exact(&mut unique)?;
                Ok((started, Some(Family::new(u64::from_ne_bytes(unique)))))
            }
        }
    }

    fn watch(&self, mut command: Child, proxy: &UnixStream) -> io::Result<Outcome> {
        let pid = i32::try_from(command.id()).unwrap_or(i32::MAX);
        let mut deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        let mut told = None;
        let (ended, ending) = io::pipe()?;
        // Its end is seen at the pipe, which can be waited for together with the proxy's word.
        let waiter = thread::spawn(move || {
            let status = command.wait();
            drop(ending);
            status
        });
        loop {
            match wait(&ended, proxy, deadline)? {
                Event::Ended => {
                    return waiter.join().map_or_else(|_| Err(unknown()), |s| s.map(outcome));
                }
                Event::Word => match next_word(proxy) {
                    Some(signal) => {
                        process::signal(pid, signal);
                        told.get_or_insert(signal);
                        let grace = Instant::now() + GRACE;
                        deadline = Some(deadline.map_or(grace, |deadline| deadline.min(grace)));
                    }
                    None => {
                        tracing::error!("the process that serves is gone; the command was ended");
                        return Ok(Outcome::Signalled(low_byte(libc::SIGKILL)));
                    }
                },
                Event::Deadline => {
                    return Ok(
                        told.map_or(Outcome::TimedOut, |it| Outcome::Signalled(low_byte(it)))
                    );
                }
            }
        }
    }
}

impl Hold {
    /// Ends what came from the command, and undoes all. What is to be reported then.
    fn end(self, family: Option<Family>, report: Report) -> Report {
        match self {
            Self::Jail { account, mut guard, .. } => {
                if let Err(error) = process::end_all_of(&account) {
                    // The rules stay with them, to the next sweep.
                    tracing::error!(%error, "the account's processes are left, and have no network");
                    guard.leave();
                }
                report
            }
            Self::Told { .. } => {
                match family.map_or(Ok(()), |mut family| descendants::kill_all(&mut family)) {
                    Ok(()) => report,
                    Err(error) => {
                        tracing::error!(%error, "what the command has started is left");
                        Report::Left
                    }
                }
            }
        }
    }
}

/// What the keeper waits for.
enum Event {
    Ended,
    Word,
    Deadline,
}

fn wait(ended: &PipeReader, proxy: &UnixStream, deadline: Option<Instant>) -> io::Result<Event> {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut fds = [
            PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(proxy.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(Event::Deadline),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(Event::Ended),
            Ok(_) => return Ok(Event::Word),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The signal that the proxy was sent; `None`: it is dead.
fn next_word(mut proxy: &UnixStream) -> Option<i32> {
    let mut word = [0];
    proxy.read_exact(&mut word).ok()?;
    Some(i32::from(word[0]))
}

fn outcome(status: ExitStatus) -> Outcome {
    match status.code() {
        Some(code) => Outcome::Exited(low_byte(code)),
        None => Outcome::Signalled(low_byte(status.signal().unwrap_or(libc::SIGKILL))),
    }
}

fn low_byte(number: i32) -> u8 {
    u8::try_from(number & 0xff).unwrap_or(u8::MAX)
}

/// An error's number; all of macOS's fit into a byte.
fn errno(error: &io::Error) -> u8 {
    low_byte(error.raw_os_error().unwrap_or(libc::EINVAL))
}

fn unknown() -> io::Error {
    io::Error::other("the thread that waits for the command failed")
}
