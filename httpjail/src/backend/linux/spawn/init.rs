//! PID 1 of the jail: starts the command, reaps orphans, tells how the command ended.
//!
//! It is this program without an exec: the child of the clone goes on as init, stripped like the
//! command will be. Its end ends every process of the namespace (pid_namespaces(7)). It stays in
//! the caller's process group, so that job control sees what it would see without a jail, and
//! blocks all signals: what the terminal sends, the command gets by itself.
//!
//! Nothing here allocates, locks or panics.

use std::{mem::MaybeUninit, os::fd::RawFd, ptr};

use super::{
    child::{REPORT, check},
    error::{Failure, Step},
    image::Image,
    signals::Signals,
};

/// Bytes of the stack on which the command's process runs until its exec.
pub(super) const STACK: usize = 64 * 1024;

/// Signals that end a command before it has started, as they would have ended it after.
pub(crate) const ENDING: [libc::c_int; 4] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// What init needs.
pub(super) struct Init<'a> {
    pub(super) image: &'a mut Image,
    /// What the command starts with.
    pub(super) signals: &'a Signals,
    /// [`STACK`] bytes.
    pub(super) stack: &'a mut [u8],
    /// Write end: the command's wait status (wait(2)), four bytes.
    pub(super) status: RawFd,
}

impl Init<'_> {
    /// Runs the command to its end, or does not start it: then the report says why.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        if let Some(signal) = self.signals.pending_one_of(&ENDING) {
            // A wait status with nothing but a signal's number is "killed by it".
            self.tell(signal);
            return Ok(());
        }
        let command = self.start()?;
        // The command's exec closed its end; the parent waits for the last one to be closed.
        // SAFETY: the descriptor is this process's own, and not used again.
        unsafe { libc::close(REPORT) };
        let status = serve(command);
        self.tell(status);
        Ok(())
    }

    /// Starts the command on a stack of its own in this process's memory, as vfork(2) does: no
    /// page table is copied. Returns when it has been executed, or has ended.
    fn start(&mut self) -> Result<libc::pid_t, Failure> {
        let mut start = Start { image: self.image, signals: self.signals };
        // SAFETY: the range ends where the stack does; it grows down (on every Linux target here).
        let top = unsafe { self.stack.as_mut_ptr().add(self.stack.len()) };
        let top = top.map_addr(|address| address & !0xf);
        // SAFETY: the stack and `start` live until the call returns, which CLONE_VFORK puts off
        // until the child uses neither any more. `execute` is async-signal-safe.
        let pid = unsafe {
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            libc::clone(execute, top.cast(), flags, (&raw mut start).cast())
        };
        check(Step::StartCommand, pid.into())?;
        Ok(pid)
    }

    fn tell(&self, status: libc::c_int) {
        let bytes = status.to_ne_bytes();
        // SAFETY: the bytes are valid for their length. A parent that is gone needs no word.
        unsafe { libc::write(self.status, bytes.as_ptr().cast(), bytes.len()) };
    }
}

/// What the command's process needs.
struct Start<'a> {
    image: &'a mut Image,
    signals: &'a Signals,
}

/// The command's process: executes it, or reports why it can't.
extern "C" fn execute(start: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `Init::start` passes its `Start` and doesn't touch it while this runs.
    let start = unsafe { &mut *start.cast::<Start<'_>>() };
    start.signals.restore_dispositions();
    // Signals that came since the clone arrive here, with their default effect.
    start.signals.restore_mask();
    let failure = Failure { step: Step::Execute, errno: start.image.execute() };
    failure.report(REPORT);
    super::child::NOT_STARTED
}

/// Reaps until the command ends, and returns its wait status.
fn serve(command: libc::pid_t) -> libc::c_int {
    loop {
        let mut status = 0;
        // SAFETY: the status is valid for writes.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            ended if ended == command => return status,
            0 => pass_on_next(command),
            // An orphan; or EINTR. No child at all can't be: the command is one.
            _ => {}
        }
    }
}

/// Waits for a signal: SIGCHLD, or one that the supervisor has for the command. The latter come by
/// sigqueue(3) from outside the namespace, where no process has an id; those of the terminal, and
/// of whoever signals the whole process group, have reached the command already.
fn pass_on_next(command: libc::pid_t) {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let all = Signals::all();
    // SAFETY: both are valid; all zeroes is a valid siginfo_t, too.
    let (signal, info) = unsafe {
        let signal = libc::sigtimedwait(&raw const all, info.as_mut_ptr(), ptr::null());
        (signal, info.assume_init())
    };
    // SAFETY: signals by sigqueue(3) have a sender.
    if signal > 0 && info.si_code == libc::SI_QUEUE && unsafe { info.si_pid() } == 0 {
        // SAFETY: kill touches no memory. The command was not waited for, so the id is its own.
        unsafe { libc::kill(command, signal) };
    }
}
