//! The role that carries the command's standard streams where they are sockets outside: it lives
//! without privileges, looks at no byte, and ends when all that the command wrote is delivered.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Instant,
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{Signal, getppid, set_parent_process_death_signal},
};

use super::{
    carry::{Line, carry},
    supervise::{First, until_readable},
};
use crate::backend::linux::{
    confine::confine_to_streams,
    role::{self, Role, RolePlan, RoleUser},
    signals::Signals,
    spawn::{Outer, Replacement},
};

/// The running relay. Dropped, it is killed and reaped.
#[derive(Debug)]
pub(super) struct Relay(Role);

impl Relay {
    /// Forks the role, which lives under `uid`, and gives what the command gets in the place of the
    /// sockets: each an end of a pair, so that reading, writing, `send`, `recv` and `shutdown` work as
    /// they do on the socket.
    ///
    /// # Errors
    ///
    /// When pair or process can't be made.
    pub(super) fn start(outer: Vec<Outer>, uid: u32) -> io::Result<(Self, Vec<Replacement>)> {
        let (mut lines, mut replacements) = (Vec::new(), Vec::new());
        let mut keep = Vec::new();
        for Outer { numbers, socket, .. } in outer {
            let flags = SocketFlags::CLOEXEC;
            let (inner, by) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            keep.extend([socket.as_raw_fd(), inner.as_raw_fd()]);
            lines.push((socket, inner, numbers.contains(&0)));
            replacements.push(Replacement { numbers, by });
        }
        let plan =
            RolePlan { name: c"httpjail-relay", user: RoleUser::Own(uid), cgroup: None, keep };
        let supervisor = rustix::process::getpid();
        let role = role::fork(&plan, move || {
            let lines =
                lines.into_iter().map(|(outer, inner, reads)| Line::new(outer, inner, reads));
            match relay(lines.collect(), supervisor) {
                Ok(()) => 0,
                Err(error) => {
                    tracing::error!(error, "the relay of standard streams failed");
                    1
                }
            }
        })?;
        Ok((Self(role), replacements))
    }

    /// Waits until all is delivered that the command wrote, which has ended: so long as nobody reads,
    /// to the deadline, or to a signal that `is_fatal`.
    pub(super) fn finish(
        self,
        signals: &Signals,
        is_fatal: &dyn Fn(i32) -> bool,
        deadline: Option<Instant>,
    ) {
        match until_readable(self.0.pidfd.as_fd(), signals, is_fatal, deadline) {
            Ok(First::Readable) => {
                if self.0.reap() != Some(0) {
                    tracing::error!("the relay ended badly; what was written last may be lost");
                }
            }
            Ok(First::Signal(_) | First::Deadline) => {
                tracing::error!("nobody read what the command wrote last; it is lost");
            }
            Err(error) => tracing::error!(%error, "what was written last may be lost"),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.kill();
    }
}

/// The role's life.
fn relay(
    lines: Vec<Line>,
    supervisor: rustix::process::Pid,
) -> Result<(), Box<dyn std::error::Error>> {
    // A change of user clears the wish, so it stands here.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(supervisor) {
        return Ok(());
    }
    confine_to_streams()?;
    Ok(carry(lines)?)
}
