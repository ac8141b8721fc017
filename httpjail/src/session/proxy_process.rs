//! The proxy role as the supervisor sees it: a child process that reports, serves and ends.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, RawFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, WaitId, WaitIdOptions, waitid},
};

use super::{
    control::{Channel, RULE, Ready, Stop},
    proxy_role::ProxyRole,
    refused::Refused,
};
use crate::backend::linux::role::{self, Role, RolePlan, RoleUser};

/// How long the proxy may take to hear that it should end. It does nothing but wait for that word;
/// one that is stopped or frozen never hears it.
const HEARING: Duration = Duration::from_secs(1);
/// How long it may then take to write its last records.
const END: Duration = Duration::from_secs(10);

/// The running proxy. Dropped, it is killed and reaped.
#[derive(Debug)]
pub(super) struct Proxy {
    role: Role,
    control: Channel,
}

impl Proxy {
    /// Forks the role, which lives under `uid`.
    ///
    /// # Errors
    ///
    /// When the process can't be made.
    pub(super) fn start(role: ProxyRole, uid: u32, control: Channel) -> io::Result<Self> {
        Self::fork(role.descriptors(), RoleUser::Own(uid), control, move || role.main())
    }

    /// Forks `main` with the descriptors `keep`, to live as `user`.
    ///
    /// # Errors
    ///
    /// When the process can't be made.
    pub(super) fn fork(
        keep: Vec<RawFd>,
        user: RoleUser<'_>,
        control: Channel,
        main: impl FnOnce() -> u8,
    ) -> io::Result<Self> {
        let plan = RolePlan { name: c"httpjail-proxy", user, cgroup: None, keep };
        let forked = role::fork(&plan, main)?;
        Ok(Self { role: forked, control })
    }

    /// Its id, until it was waited for.
    pub(super) fn pid(&self) -> Pid {
        self.role.pid
    }

    /// Waits for the proxy's report that it serves.
    ///
    /// # Errors
    ///
    /// When it ends first, or takes longer than `limit`.
    pub(super) fn ready(&self, limit: Duration) -> io::Result<Ready> {
        if !wait_for(self.control.as_fd(), limit)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let report = self.control.receive()?;
        Ready::decode(&report)
            .ok_or_else(|| io::Error::other("it ended before it served; its own message is above"))
    }

    /// Hands the rule's file over, to be read anew.
    ///
    /// # Errors
    ///
    /// When the proxy is dead, or doesn't listen.
    pub(super) fn hand_rule(&self, file: &File) -> io::Result<()> {
        self.control.send_at_once(RULE, &[file.as_fd()])
    }

    /// Whether it has ended, or is about to.
    pub(super) fn has_ended(&self) -> bool {
        matches!(wait_for(self.role.pidfd.as_fd(), HEARING), Ok(true))
    }

    /// Tells it to write its last records and to end, and what the kernel side refused.
    pub(super) fn ask_to_stop(&self, refused: Refused) {
        let stop = Stop { refused };
        // It may be dead already; then there is nothing to wait for.
        let _ = self.control.send(&stop.encode());
    }

    /// Waits until it has done so, and reaps it. One that doesn't is killed.
    pub(super) fn stop(self) {
        // Its end reads as an answer, too.
        if !matches!(wait_for(self.control.as_fd(), HEARING), Ok(true)) {
            return tracing::error!("the proxy doesn't answer and was killed; records may be lost");
        }
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            match wait_for(self.role.pidfd.as_fd(), HEARING) {
                Ok(true) => return self.reap(),
                Ok(false) if !self.is_stopped() => {}
                Ok(false) | Err(_) => break,
            }
        }
        tracing::error!("the proxy did not end in time; records may be lost");
    }

    /// Whether a signal has stopped it since it was last looked at.
    fn is_stopped(&self) -> bool {
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        matches!(waitid(WaitId::PidFd(self.role.pidfd.as_fd()), stopped), Ok(Some(_)))
    }

    fn reap(&self) {
        let status = self.role.reap();
        if status != Some(0) {
            tracing::error!(?status, "the proxy ended badly; records may be lost");
        }
    }
}

impl AsFd for Proxy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.role.pidfd.as_fd()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.role.kill();
    }
}

/// Waits until `fd` is readable. `false`: it isn't after `limit`.
pub(super) fn wait_for(fd: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    let timeout = Timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    // Signals are blocked, so nothing interrupts this.
    Ok(poll(&mut fds, Some(&timeout))? > 0)
}
