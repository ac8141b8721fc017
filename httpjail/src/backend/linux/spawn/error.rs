//! What can go wrong, and how the child says so.

use std::{ffi::OsString, io, os::fd::RawFd};

/// A command that was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The command, an argument or the environment holds a NUL byte.
    #[error("pass {0:?} to a program: it holds a NUL byte")]
    Nul(OsString),
    /// A standard descriptor would carry the jail's bytes past the jail.
    #[error("hand descriptor {fd} to the command: it is {what}, made outside the jail")]
    Descriptor {
        /// 0, 1 or 2.
        fd: RawFd,
        /// What it is.
        what: &'static str,
    },
    /// A standard descriptor can't be looked at.
    #[error("look at descriptor {fd}")]
    Inspect {
        /// 0, 1 or 2.
        fd: RawFd,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The pipes between parent and child can't be made or used.
    #[error("talk to the command's process")]
    Pipe(#[source] io::Error),
    /// `/proc` doesn't say where this process has its arguments.
    #[error("find the arguments of this process in /proc/self/stat")]
    CommandLine(#[source] io::Error),
    /// Mounts and sockets can't be listed.
    #[error("list the machine's mounts and sockets")]
    View(#[source] io::Error),
    /// No process can be made; `EPERM` without CAP_SYS_ADMIN, which namespaces take.
    #[error("make a process with namespaces of its own in the jail's cgroup")]
    Clone(#[source] io::Error),
    /// Somebody killed the jail's init before it was ready.
    #[error("keep the command's process alive: it was killed before it was ready")]
    Killed,
    /// The child failed on its way to the command.
    #[error("{step} in the command's process")]
    Child {
        /// What it was doing.
        step: Step,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A guard of the jail doesn't hold; nothing was run.
    #[error("shut the jail: {guard}")]
    Open {
        /// What should have been.
        guard: Step,
        /// What came instead; none: what should have been refused was done.
        #[source]
        source: Option<io::Error>,
    },
    /// There is no such program.
    #[error("find {0:?}")]
    NotFound(OsString),
    /// There is such a program, and it can't be run.
    #[error("run {command:?}")]
    NotExecutable {
        /// The command as it was given.
        command: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What the child does between its birth and the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Step {
    /// Moves into the cgroup, where the clone couldn't place it there.
    EnterCgroup = 1,
    /// Closes what it inherited.
    CloseDescriptors = 2,
    /// Asks to be killed with its parent.
    FollowParent = 3,
    /// Takes the supplementary groups.
    SetGroups = 4,
    /// Takes the group.
    SetGroup = 5,
    /// Takes the user.
    SetUser = 6,
    /// Gives up new privileges.
    RefusePrivileges = 7,
    /// Becomes the command.
    Execute = 8,
    /// Changes what it sees of the file systems.
    Mount = 9,
    /// Keeps the jail's user away from init.
    HideInit = 10,
    /// Makes the command's process.
    StartCommand = 11,
    /// Hides what leads to daemons outside.
    Mask = 12,
    /// Enters a domain of Landlock.
    EnterDomain = 13,
    /// Gives up system calls.
    FilterCalls = 14,
    /// Sees a connection arrive at the jail's proxy.
    TurnConnection = 15,
    /// Sees a datagram refused.
    RefuseDatagram = 16,
    /// Sees a raw socket refused.
    RefuseRawSocket = 17,
    /// Sees the cgroups refused for writing.
    RefuseCgroups = 18,
    /// Sees a packet dropped that no other program looks at.
    DropPacket = 19,
}

impl Step {
    const ALL: [Self; 19] = [
        Self::EnterCgroup,
        Self::CloseDescriptors,
        Self::FollowParent,
        Self::SetGroups,
        Self::SetGroup,
        Self::SetUser,
        Self::RefusePrivileges,
        Self::Execute,
        Self::Mount,
        Self::HideInit,
        Self::StartCommand,
        Self::Mask,
        Self::EnterDomain,
        Self::FilterCalls,
        Self::TurnConnection,
        Self::RefuseDatagram,
        Self::RefuseRawSocket,
        Self::RefuseCgroups,
        Self::DropPacket,
    ];
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::EnterCgroup => "enter the jail's cgroup",
            Self::CloseDescriptors => "close inherited descriptors",
            Self::FollowParent => "tie its life to its parent's",
            Self::SetGroups => "set the supplementary groups",
            Self::SetGroup => "set the group",
            Self::SetUser => "set the user",
            Self::RefusePrivileges => "refuse new privileges",
            Self::Execute => "execute the command",
            Self::Mount => "mount the jail's own view of the file systems",
            Self::HideInit => "keep the jail's user away from its init",
            Self::Mask => "hide the sockets of other programs",
            Self::EnterDomain => "enter a Landlock domain",
            Self::FilterCalls => "install the filter of system calls",
            Self::StartCommand => "start the command from its init",
            Self::TurnConnection => {
                "the eBPF programs did not bring a connection to the jail's proxy"
            }
            Self::RefuseDatagram => "the eBPF programs did not refuse a datagram",
            Self::DropPacket => "the eBPF programs did not drop a packet",
            Self::RefuseRawSocket => "the filter of system calls did not refuse a raw socket",
            Self::RefuseCgroups => "the mounts did not keep cgroups from being written",
        })
    }
}

/// The child's last words: where it failed, and `errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) errno: i32,
}

impl Failure {
    pub(super) const SIZE: usize = 8;

    pub(super) fn to_bytes(self) -> [u8; Self::SIZE] {
        let [a, b, c, d] = (self.step as i32).to_ne_bytes();
        let [e, f, g, h] = self.errno.to_ne_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// Writes it to the report's end. Async-signal-safe.
    pub(super) fn report(self, report: RawFd) {
        let bytes = self.to_bytes();
        // SAFETY: the bytes are valid for their length. A parent that is gone needs no word.
        unsafe { libc::write(report, bytes.as_ptr().cast(), bytes.len()) };
    }

    /// `None` when the bytes are no failure of ours.
    pub(super) fn from_bytes(bytes: [u8; Self::SIZE]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h] = bytes;
        let number = i32::from_ne_bytes([a, b, c, d]);
        let step = Step::ALL.into_iter().find(|&step| step as i32 == number)?;
        Some(Self { step, errno: i32::from_ne_bytes([e, f, g, h]) })
    }

    /// The error to report, in the terms of a shell: not found (127) or not executable (126)
    /// when the exec itself failed.
    pub(super) fn into_error(self, command: OsString) -> SpawnError {
        let source = io::Error::from_raw_os_error(self.errno);
        match (self.step, self.errno) {
            (
                guard @ (Step::TurnConnection
                | Step::RefuseDatagram
                | Step::DropPacket
                | Step::RefuseRawSocket
                | Step::RefuseCgroups),
                errno,
            ) => SpawnError::Open { guard, source: (errno != 0).then_some(source) },
            (Step::Execute, libc::ENOENT | libc::ENOTDIR) => SpawnError::NotFound(command),
            (Step::Execute, _) => SpawnError::NotExecutable { command, source },
            (step, _) => SpawnError::Child { step, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_pipe() {
        for step in Step::ALL {
            let failure = Failure { step, errno: libc::EPERM };
            assert_eq!(Failure::from_bytes(failure.to_bytes()), Some(failure));
        }
        assert_eq!(Failure::from_bytes([0xff; Failure::SIZE]), None);
    }
}
