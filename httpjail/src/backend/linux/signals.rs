//! Signals as something to poll for.

use std::{
    io, mem,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

/// The signals that the supervisor hands to the jailed command.
pub(crate) const FORWARDED: [i32; 6] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2];

/// A signalfd over [`FORWARDED`], which are blocked for as long as the process lives.
#[derive(Debug)]
pub(crate) struct Signals(OwnedFd);

/// One signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caught {
    /// Its number.
    pub(crate) signal: i32,
    /// Who sent it.
    pub(crate) sender: Sender,
}

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// The kernel, for the terminal: the whole foreground process group has got it, the jailed
    /// command too.
    Terminal,
    /// Another process, by `kill(2)`: the command has not got it yet.
    Process,
}

impl Signals {
    /// Blocks the forwarded signals in this thread and makes them readable. Call it before any
    /// other thread or process is made, so that all inherit the mask. A limit on the size of files
    /// no longer ends the process, but fails what is written beyond it.
    ///
    /// # Errors
    ///
    /// What `sigprocmask(2)` or `signalfd(2)` says.
    pub(crate) fn block() -> io::Result<Self> {
        // SAFETY: an all-zero sigset_t is a valid object for sigemptyset to fill.
        let mut set: libc::sigset_t = unsafe { mem::zeroed() };
        // SAFETY: `set` is a live sigset_t; the numbers are valid signals.
        unsafe {
            libc::sigemptyset(&mut set);
            for signal in FORWARDED {
                libc::sigaddset(&mut set, signal);
            }
        }
        // SAFETY: ignoring a signal runs no code.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        // SAFETY: `set` is initialised; the old mask isn't asked for.
        let failed = unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, ptr::null_mut()) };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `set` is initialised; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd just returned this descriptor and nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The same signals, at a descriptor of its own.
    ///
    /// # Errors
    ///
    /// What `fcntl(2)` says.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// The next signal that waits, if any. Never blocks.
    ///
    /// # Errors
    ///
    /// What `read(2)` says, save that nothing waits.
    pub(crate) fn next(&self) -> io::Result<Option<Caught>> {
        let mut info = [0_u8; mem::size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut info) {
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // SAFETY: signalfd reads whole signalfd_siginfo records, which are plain integers.
        let info: libc::signalfd_siginfo = unsafe { ptr::read_unaligned(info.as_ptr().cast()) };
        // si_code above zero: sent by the kernel (sigaction(2)).
        let sender = if info.ssi_code > 0 { Sender::Terminal } else { Sender::Process };
        Ok(Some(Caught { signal: info.ssi_signo.cast_signed(), sender }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
