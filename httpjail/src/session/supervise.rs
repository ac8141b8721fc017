//! The supervisor's waits: signals, the deadline, the command's end, the proxy's death.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::ExitStatusExt,
    },
    process::ExitStatus,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    control::Channel, inspect::answer_inspection, proxy_process::Proxy, rule_watch::RuleWatch,
};
use crate::backend::linux::{
    signals::{Sender, Signals},
    spawn::{Child, HeldChild},
};

/// How far the word of the command's start may be behind it.
const MOMENT: Duration = Duration::from_millis(100);
/// How long the command has to end after SIGTERM or SIGHUP before the jail is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Why the wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The command exited with this status.
    Exited(u8),
    /// The command died of this signal.
    Signalled(u8),
    /// The time was up.
    TimedOut,
    /// It was told to end, and didn't within the grace period.
    Overstayed(i32),
    /// The proxy ended first: nothing can be served, so the jail has to end, too.
    ProxyDied,
    /// The process that asks the rule's program ended first: all would be denied.
    RulesDied,
}

/// The command, as the supervisor knows it. Its descriptor is readable when it has ended.
pub(super) trait Command: AsFd {
    /// How it ended. Waits if it hasn't.
    fn end(&self) -> io::Result<ExitStatus>;
    /// Sends it a signal.
    fn signal(&self, signal: i32) -> io::Result<()>;
}

impl Command for Child {
    fn end(&self) -> io::Result<ExitStatus> {
        self.wait()
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        self.signal(signal)
    }
}

/// What the supervisor watches.
pub(super) struct Watch<'a> {
    /// Signals sent to httpjail.
    pub(super) signals: &'a Signals,
    /// The command.
    pub(super) command: &'a dyn Command,
    /// The proxy role.
    pub(super) proxy: BorrowedFd<'a>,
    /// The role that asks the rule's program, if there is one.
    pub(super) rules: Option<BorrowedFd<'a>>,
    /// The proxy's questions about processes.
    pub(super) inspect: Option<Channel>,
    /// Changes of the rule's file.
    pub(super) rule: Option<RuleChanges<'a>>,
    /// Answers whether a process belongs to the jail.
    pub(super) in_jail: &'a dyn Fn(u32) -> bool,
    /// When the command must have ended.
    pub(super) deadline: Option<Instant>,
    /// The same, set once it is told to end.
    pub(super) grace: Option<Instant>,
}

/// Hands the rule's file to the proxy when it changes.
pub(super) struct RuleChanges<'a> {
    /// Tells of them.
    pub(super) watch: RuleWatch,
    /// Takes the file.
    pub(super) proxy: &'a Proxy,
}

impl RuleChanges<'_> {
    fn take_up(&mut self) {
        let Some(file) = self.watch.changed() else { return };
        if let Err(error) = self.proxy.hand_rule(&file) {
            tracing::warn!(%error, "the rule stays as it is: the proxy doesn't take the new one");
        }
    }
}

impl Watch<'_> {
    /// Waits until the command ends or must be ended.
    ///
    /// # Errors
    ///
    /// When the wait itself fails; the caller ends the jail then.
    pub(super) fn until_end(&mut self) -> io::Result<End> {
        let mut told: Option<(i32, Instant)> = None;
        // It may have changed since it was read.
        self.rule.iter_mut().for_each(RuleChanges::take_up);
        loop {
            let limit = earliest(self.deadline, told.map(|(_, grace)| grace));
            let ready = self.poll(limit)?;
            if ready.command {
                return command_end(self.command);
            }
            if ready.proxy {
                return Ok(End::ProxyDied);
            }
            if ready.rules {
                return Ok(End::RulesDied);
            }
            if ready.signals {
                while let Some(caught) = self.signals.next()? {
                    // On a hangup the terminal tells the session's leader alone.
                    if caught.sender == Sender::Process || caught.signal == libc::SIGHUP {
                        forward(self.command, caught.signal);
                    }
                    if matches!(caught.signal, libc::SIGTERM | libc::SIGHUP) {
                        let (_, grace) =
                            told.get_or_insert((caught.signal, Instant::now() + GRACE));
                        self.grace = Some(*grace);
                    }
                }
            }
            if ready.inspect
                && let Some(channel) = &self.inspect
                && !answer_inspection(channel, self.in_jail)
            {
                self.inspect = None;
            }
            if ready.rule {
                self.rule.iter_mut().for_each(RuleChanges::take_up);
            }
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(End::TimedOut);
            }
            if let Some((signal, grace)) = told
                && now >= grace
            {
                return Ok(End::Overstayed(signal));
            }
        }
    }

    /// Waits until something is ready or `limit` has come.
    fn poll(&self, limit: Option<Instant>) -> io::Result<Ready> {
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.command.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.proxy, PollFlags::IN),
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
        ];
        let mut watch = |fd: Option<_>| {
            fds.extend(fd.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            fd.map(|_| fds.len() - 1)
        };
        let inspect = watch(self.inspect.as_ref().map(AsFd::as_fd));
        let rule = watch(self.rule.as_ref().map(|rule| rule.watch.as_fd()));
        let rules = watch(self.rules);
        wait(&mut fds, limit)?;
        let is_ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Ready {
            command: is_ready(0),
            proxy: is_ready(1),
            signals: is_ready(2),
            inspect: inspect.is_some_and(is_ready),
            rule: rule.is_some_and(is_ready),
            rules: rules.is_some_and(is_ready),
        })
    }
}

/// Which of the watched things are ready.
struct Ready {
    command: bool,
    proxy: bool,
    signals: bool,
    inspect: bool,
    rule: bool,
    rules: bool,
}

/// Waits until the command runs, or can't be run: `None`. Or until it must not be run any more: at
/// the deadline, or at a fatal signal. Other signals are kept for it.
pub(super) fn until_start(
    command: &HeldChild,
    signals: &Signals,
    is_fatal: &dyn Fn(i32) -> bool,
    deadline: Option<Instant>,
) -> io::Result<Option<End>> {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(command.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        wait(&mut fds, deadline)?;
        let [started, signalled] = fds.map(|fd| !fd.revents().is_empty());
        if started || (signalled && is_about_to_start(command)?) {
            return Ok(None);
        }
        while signalled && let Some(caught) = signals.next()? {
            if is_fatal(caught.signal) {
                return Ok(Some(End::Signalled(low_byte(caught.signal))));
            }
            if caught.sender == Sender::Process
                && let Err(error) = command.signal(caught.signal)
            {
                tracing::debug!(%error, "the signal did not reach the command");
            }
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(Some(End::TimedOut));
        }
    }
}

/// What came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// There is something to read.
    Readable,
    /// A fatal signal.
    Signal(i32),
    /// The deadline.
    Deadline,
}

/// Waits until `fd` is readable, a fatal signal comes, or the deadline.
pub(super) fn until_readable(
    fd: BorrowedFd<'_>,
    signals: &Signals,
    is_fatal: &dyn Fn(i32) -> bool,
    deadline: Option<Instant>,
) -> io::Result<First> {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(fd, PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        wait(&mut fds, deadline)?;
        if !fds[0].revents().is_empty() {
            return Ok(First::Readable);
        }
        while let Some(caught) = signals.next()? {
            if is_fatal(caught.signal) {
                return Ok(First::Signal(caught.signal));
            }
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(First::Deadline);
        }
    }
}

/// Waits a moment for the command's start. Init's word for it comes after the start itself: what is
/// signalled in between is for the command.
fn is_about_to_start(command: &HeldChild) -> io::Result<bool> {
    let mut started = [PollFd::from_borrowed_fd(command.as_fd(), PollFlags::IN)];
    wait(&mut started, Some(Instant::now() + MOMENT))?;
    Ok(!started[0].revents().is_empty())
}

/// Waits until one of `fds` is ready or `limit` has come.
fn wait(fds: &mut [PollFd<'_>], limit: Option<Instant>) -> io::Result<()> {
    let timeout = limit.map(|limit| timespec(limit.saturating_duration_since(Instant::now())));
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How the command ended.
fn command_end(command: &dyn Command) -> io::Result<End> {
    let status = command.end()?;
    if let Some(code) = status.code() {
        return Ok(End::Exited(low_byte(code)));
    }
    let signal = status.signal().unwrap_or(libc::SIGKILL);
    Ok(End::Signalled(low_byte(signal)))
}

fn low_byte(status: i32) -> u8 {
    u8::try_from(status & 0xff).unwrap_or(u8::MAX)
}

/// Sends `signal` to the command; one that has just ended needs it no more.
fn forward(command: &dyn Command, signal: i32) {
    if let Err(error) = command.signal(signal) {
        tracing::debug!(%error, "the signal did not reach the command");
    }
}

pub(super) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// `duration` for `poll(2)`, rounded up so that the loop doesn't spin through the last
/// nanoseconds.
fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::fd::OwnedFd, process};

    use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

    struct Running(process::Child, OwnedFd);

    impl Running {
        fn start(script: &str) -> Self {
            let child = process::Command::new("sh").args(["-c", script]).spawn().unwrap();
            let pid = Pid::from_child(&child);
            Self(child, pidfd_open(pid, PidfdFlags::empty()).unwrap())
        }
    }

    impl AsFd for Running {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.1.as_fd()
        }
    }

    impl Command for Running {
        fn end(&self) -> io::Result<ExitStatus> {
            let status = waitid(WaitId::PidFd(self.1.as_fd()), WaitIdOptions::EXITED)?.unwrap();
            let (code, signal) = (status.exit_status(), status.terminating_signal());
            Ok(ExitStatus::from_raw((code.unwrap_or(0) << 8) | signal.unwrap_or(0)))
        }

        fn signal(&self, _signal: i32) -> io::Result<()> {
            Ok(())
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn end(command: &Running, proxy: &Running, deadline: Option<Instant>) -> End {
        let signals = Signals::block().unwrap();
        let in_jail = |_| false;
        let mut watch = Watch {
            signals: &signals,
            command,
            proxy: proxy.1.as_fd(),
            rules: None,
            inspect: None,
            rule: None,
            in_jail: &in_jail,
            deadline,
            grace: None,
        };
        watch.until_end().unwrap()
    }

    #[test]
    fn tells_the_exit_status() {
        let (command, proxy) = (Running::start("exit 42"), Running::start("exec sleep 60"));
        assert_eq!(end(&command, &proxy, None), End::Exited(42));
    }

    #[test]
    fn tells_the_signal_that_killed_the_command() {
        let (command, proxy) = (Running::start("kill -9 $$"), Running::start("exec sleep 60"));
        assert_eq!(end(&command, &proxy, None), End::Signalled(9));
    }

    #[test]
    fn ends_at_the_deadline() {
        let (command, proxy) = (Running::start("exec sleep 60"), Running::start("exec sleep 60"));
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(end(&command, &proxy, Some(deadline)), End::TimedOut);
    }

    #[test]
    fn ends_when_the_proxy_dies() {
        let (command, proxy) = (Running::start("exec sleep 60"), Running::start("exit 0"));
        assert_eq!(end(&command, &proxy, None), End::ProxyDied);
    }

    #[test]
    fn ends_when_the_process_of_the_rule_dies() {
        let (command, proxy) = (Running::start("exec sleep 60"), Running::start("exec sleep 60"));
        let rules = Running::start("exit 0");
        let signals = Signals::block().unwrap();
        let mut watch = Watch {
            signals: &signals,
            command: &command,
            proxy: proxy.1.as_fd(),
            rules: Some(rules.1.as_fd()),
            inspect: None,
            rule: None,
            in_jail: &|_| false,
            deadline: None,
            grace: None,
        };
        assert_eq!(watch.until_end().unwrap(), End::RulesDied);
    }
}
