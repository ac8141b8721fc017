//! The parent's side: a child that waits, then a child that runs.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::process::ExitStatusExt,
    },
    path::PathBuf,
    process::ExitStatus,
};

use rustix::{
    io::{Errno, fcntl_dupfd_cloexec},
    process::{Pid, Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid},
};

use super::{
    SpawnError,
    canary::{Attempts, Canary},
    child::Orders,
    clone::{Cloned, clone_into, fork},
    credentials::Credentials,
    error::Failure,
    guards::{Guards, Privileges},
    image::Image,
    init,
    signals::{AllBlocked, Signals},
    stdio::{self, Replacement},
};
use crate::backend::linux::user::Identity;

/// Descriptors below this one have a meaning in the child: standard streams and its three pipes.
const FIRST_FREE: i32 = 6;

/// What to start, where and as whom.
#[derive(Clone, Copy, Debug)]
pub struct SpawnPlan<'a> {
    /// The program: a path if it has a slash, else a name to look for in the environment's PATH.
    pub command: &'a OsStr,
    /// Its arguments, without its name.
    pub args: &'a [OsString],
    /// Its whole environment.
    pub environment: &'a [(OsString, OsString)],
    /// The directory of the jail's cgroup.
    pub cgroup: BorrowedFd<'a>,
    /// Whom it runs as; `None`: as the caller.
    pub identity: Option<&'a Identity>,
    /// The signals it starts with.
    pub signals: Signals,
    /// Folders whose files it sees in other folders, beside what is there.
    pub folders: &'a [(PathBuf, PathBuf)],
    /// Files that it sees in the place of others.
    pub files: &'a [(PathBuf, PathBuf)],
    /// What it has in the place of standard streams that are sockets.
    pub streams: &'a [Replacement],
    /// What init tries before the command runs.
    pub canary: &'a Canary,
    /// Unix sockets, and folders of such, that stay within its reach. Canonical paths.
    pub sockets: &'a [PathBuf],
    /// Folders that are empty in its view.
    pub hidden: &'a [PathBuf],
    /// Whether programs gain privileges.
    pub privileges: Privileges,
}

/// The jail's init, in its cgroup, before the command: it waits until the jail is armed (P4). Dropped, it is killed: without
/// having run anything, if it was not released.
#[derive(Debug)]
pub struct HeldChild {
    pid: Pid,
    child: Option<Child>,
    gate: Option<io::PipeWriter>,
    report: io::PipeReader,
    command: OsString,
}

/// The jail's init, while it puts its guards up. Dropped, it ends without having run anything.
#[derive(Debug)]
pub struct Unready<'a> {
    plan: SpawnPlan<'a>,
    child: HeldChild,
}

/// The running command, and the jail's init above it.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    /// Read end: a byte when init is ready, the command's wait status, the end. Without a status init was killed.
    status: io::PipeReader,
}

/// Makes the process that will be the command.
///
/// It is killed when the *thread* that called this ends, so call it on one that lives as long as
/// the jail. It keeps process group, session, terminal, directory, umask and limits of the
/// caller. A process that is forked (without an exec) between this call and
/// [`HeldChild::release`] holds the gate open: fork helpers before.
///
/// # Errors
///
/// When the plan can't be carried out as it is; nothing is left then.
pub fn spawn(plan: SpawnPlan<'_>) -> Result<Unready<'_>, SpawnError> {
    stdio::check(plan.streams)?;
    Ok(Unready { plan, child: spawn_by(plan, clone_into)? })
}

/// [`spawn`] by one way to clone.
pub(super) fn spawn_by(
    plan: SpawnPlan<'_>,
    clone: unsafe fn(BorrowedFd<'_>) -> io::Result<Cloned>,
) -> Result<HeldChild, SpawnError> {
    let mut image = Image::new(plan.command, plan.args, plan.environment)?;
    let (gate_reader, gate) = io::pipe().map_err(SpawnError::Pipe)?;
    let (report, report_writer) = io::pipe().map_err(SpawnError::Pipe)?;
    let (status, status_writer) = io::pipe().map_err(SpawnError::Pipe)?;
    let gate_reader = moved_up(gate_reader.into())?;
    let report_writer = moved_up(report_writer.into())?;
    let status_writer = moved_up(status_writer.into())?;
    let streams = moved_up_streams(plan.streams)?;
    let places: Vec<_> = streams.iter().map(|(from, to)| (from.as_raw_fd(), *to)).collect();
    let guards = Guards::plan(&plan)?;
    let mut canary = Attempts::plan(plan.canary)?;
    let mut stack = vec![0; init::STACK];
    let orders = Orders {
        image: &mut image,
        credentials: plan.identity.map(|identity| Credentials {
            uid: identity.uid(),
            gid: identity.gid(),
            groups: identity.groups(),
        }),
        signals: &plan.signals,
        guards: &guards,
        canary: &mut canary,
        stack: &mut stack,
        cgroup: plan.cgroup.as_raw_fd(),
        gate: gate_reader.as_raw_fd(),
        report: report_writer.as_raw_fd(),
        status: status_writer.as_raw_fd(),
        streams: &places,
    };
    let blocked = AllBlocked::new();
    // SAFETY: the child goes straight to its orders, which are async-signal-safe and don't
    // return; its descriptors are its own.
    let (pid, pidfd) = match unsafe { clone(plan.cgroup) }.map_err(SpawnError::Clone)? {
        // SAFETY: this is the child.
        Cloned::Child(entry) => unsafe { orders.carry_out(entry) },
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop(blocked);
    // The pipes' ends have to be the child's alone, so that its death is their end.
    drop((gate_reader, report_writer, status_writer));
    Ok(HeldChild {
        pid,
        child: Some(Child { pid, pidfd, status }),
        gate: Some(gate),
        report,
        command: plan.command.to_owned(),
    })
}

impl Unready<'_> {
    /// Waits until init has done all that it does before it waits for the word.
    ///
    /// # Errors
    ///
    /// When it couldn't; it has ended then.
    pub fn held(mut self) -> Result<HeldChild, SpawnError> {
        match self.child.await_readiness() {
            // Linux 6.18 does so to what is cloned into a cgroup out of one that was once emptied
            // by `cgroup.kill`; it compares the one's count of kills to the other's.
            Err(SpawnError::Killed) => {
                self.child = spawn_by(self.plan, fork)?;
                self.child.await_readiness()?;
            }
            outcome => outcome?,
        }
        Ok(self.child)
    }
}

impl HeldChild {
    /// The process that waits: the jail's init.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets the child try the jail and become the command. The descriptor of `self` is readable
    /// when it has, or when it has failed to.
    ///
    /// # Errors
    ///
    /// When the child can't be told.
    pub fn open(&mut self) -> Result<(), SpawnError> {
        // A child that has failed already reads nothing; its report says why.
        match self.gate.take().map_or(Ok(()), |mut gate| gate.write_all(&[1])) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(SpawnError::Pipe(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Keeps a signal for the command.
    ///
    /// # Errors
    ///
    /// See [`Child::signal`].
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        self.child.as_ref().map_or(Ok(()), |child| child.signal(signal))
    }

    /// Lets the child become the command, and returns when it has.
    ///
    /// # Errors
    ///
    /// When it couldn't, or when the jail turned out not to be shut; then it has ended.
    pub fn release(mut self) -> Result<Child, SpawnError> {
        self.open()?;
        if let Some(failure) = self.failure()? {
            return Err(failure.into_error(std::mem::take(&mut self.command)));
        }
        Ok(self.child.take().expect("only release and drop take the child out"))
    }

    /// Waits until it has done all that it does before it waits for the word.
    pub(super) fn await_readiness(&mut self) -> Result<(), SpawnError> {
        let child = self.child.as_mut().expect("only release and drop take the child out");
        match child.status.read_exact(&mut [0]) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let command = std::mem::take(&mut self.command);
                let failure = self.failure()?;
                Err(failure.map_or(SpawnError::Killed, |failure| failure.into_error(command)))
            }
            Err(error) => Err(SpawnError::Pipe(error)),
        }
    }

    /// Reads the report to its end, which comes with the exec or the child's death.
    fn failure(&mut self) -> Result<Option<Failure>, SpawnError> {
        let mut bytes = Vec::new();
        self.report.read_to_end(&mut bytes).map_err(SpawnError::Pipe)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let malformed = || SpawnError::Pipe(io::ErrorKind::InvalidData.into());
        let bytes = <[u8; Failure::SIZE]>::try_from(bytes).map_err(|_| malformed())?;
        Failure::from_bytes(bytes).map(Some).ok_or_else(malformed)
    }
}

impl AsFd for HeldChild {
    /// See [`HeldChild::open`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}

impl Drop for HeldChild {
    fn drop(&mut self) {
        // It is waited for so that it doesn't stay behind as a zombie.
        if let Some(child) = self.child.take() {
            let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
            let _ = child.end_of_init();
        }
    }
}

impl Child {
    /// The process id of the jail's init.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Has init send a signal to the command.
    ///
    /// # Errors
    ///
    /// `ESRCH` when init has ended and was waited for.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: all zeroes is a valid siginfo_t.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        info.si_signo = signal;
        info.si_code = libc::SI_QUEUE;
        let (fd, info) = (self.pidfd.as_raw_fd(), &raw const info);
        // SAFETY: the descriptor is open, and the kernel reads one siginfo_t.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0_u32) };
        if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits until the command ends. What it left behind may take a moment longer; init's end,
    /// which follows, ends it. A second call fails.
    ///
    /// # Errors
    ///
    /// When init isn't this process's child any more.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        let mut status = Vec::new();
        (&self.status).read_to_end(&mut status)?;
        let Ok(status) = <[u8; 4]>::try_from(status) else {
            return self.end_of_init();
        };
        Ok(ExitStatus::from_raw(i32::from_ne_bytes(status)))
    }

    /// Waits until init ends, and reaps it.
    fn end_of_init(&self) -> io::Result<ExitStatus> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(Some(status)) => {
                    let code = status.exit_status().unwrap_or(0) & 0xff;
                    let signal = status.terminating_signal().unwrap_or(0);
                    return Ok(ExitStatus::from_raw((code << 8) | signal));
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Child {
    /// Readable when the command has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.status.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Init is mostly gone by now; one that isn't is left to the end of this process.
        let reaped = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), reaped);
    }
}

/// The same descriptor, out of the way of the child's own.
fn moved_up(fd: OwnedFd) -> Result<OwnedFd, SpawnError> {
    fcntl_dupfd_cloexec(&fd, FIRST_FREE).map_err(|error| SpawnError::Pipe(error.into()))
}

/// What goes to which of the descriptors 0 to 2, out of their way.
fn moved_up_streams(streams: &[Replacement]) -> Result<Vec<(OwnedFd, RawFd)>, SpawnError> {
    let each = streams.iter().flat_map(|it| it.numbers.iter().map(move |&number| (&it.by, number)));
    each.map(|(by, number)| match fcntl_dupfd_cloexec(by, FIRST_FREE) {
        Ok(moved) => Ok((moved, number)),
        Err(error) => Err(SpawnError::Pipe(error.into())),
    })
    .collect()
}
