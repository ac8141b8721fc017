//! The signals that the command inherits: those of httpjail's caller, not httpjail's own.

use std::{io, mem::MaybeUninit, ptr};

/// The highest signal number on Linux (`_NSIG`).
const LAST: libc::c_int = 64;

/// Which signals were ignored and which blocked when httpjail was started.
///
/// `nohup`, and shells that start a background job, rely on a command keeping what they set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals {
    ignored: u64,
    mask: libc::sigset_t,
}

impl Signals {
    /// Notes the current state. Call it before the program installs handlers of its own.
    ///
    /// SIGPIPE counts as not ignored: Rust's runtime ignores it before `main`, whatever the
    /// caller did, and nearly no caller ignores it.
    pub fn capture() -> Self {
        let ignored = (1..=LAST)
            .filter(|&signal| signal != libc::SIGPIPE && is_ignored(signal))
            .fold(0, |set, signal| set | bit(signal));
        Self { ignored, mask: change_mask(libc::SIG_BLOCK, &empty()) }
    }

    /// Gives every signal the disposition that the caller had: ignored or the default.
    ///
    /// Async-signal-safe.
    pub(super) fn restore_dispositions(&self) {
        for signal in 1..=LAST {
            let handler = match self.ignored & bit(signal) {
                0 => libc::SIG_DFL,
                _ => libc::SIG_IGN,
            };
            // SAFETY: SIG_DFL and SIG_IGN are valid dispositions. Signals that can't be changed
            // (SIGKILL, SIGSTOP, the C library's own) are refused without an effect.
            unsafe { libc::signal(signal, handler) };
        }
    }

    /// Gives every signal its default disposition: init must hear of its children's ends whatever
    /// the caller ignores.
    ///
    /// Async-signal-safe.
    pub(super) fn forget_handlers(&self) {
        Self { ignored: 0, ..*self }.restore_dispositions();
    }

    /// Whether the caller ignored a signal.
    pub fn ignores(&self, signal: i32) -> bool {
        (1..=LAST).contains(&signal) && self.ignored & bit(signal) != 0
    }

    /// One of these signals that has come and is blocked, unless the caller ignored it. It is
    /// pending no more.
    ///
    /// Async-signal-safe.
    pub(super) fn pending_one_of(&self, signals: &[libc::c_int]) -> Option<libc::c_int> {
        let mut set = empty();
        for &signal in signals.iter().filter(|&&signal| self.ignored & bit(signal) == 0) {
            // SAFETY: the set is initialised, and the number is a signal's.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: set and time are valid; a null pointer asks for no details.
        let signal = unsafe { libc::sigtimedwait(&raw const set, ptr::null_mut(), &raw const now) };
        (signal > 0).then_some(signal)
    }

    /// All signals, for the calls that take a set. Async-signal-safe.
    pub(super) fn all() -> libc::sigset_t {
        let mut all = MaybeUninit::uninit();
        // SAFETY: sigfillset initialises the whole set and can't fail for a valid pointer.
        unsafe {
            libc::sigfillset(all.as_mut_ptr());
            all.assume_init()
        }
    }

    /// Blocks what the caller had blocked, and nothing else. Async-signal-safe.
    pub(super) fn restore_mask(&self) {
        change_mask(libc::SIG_SETMASK, &self.mask);
    }
}

/// Blocks all signals of the calling thread while it lives, so that a child cloned meanwhile
/// runs no handler of its parent.
pub(super) struct AllBlocked {
    before: libc::sigset_t,
}

impl AllBlocked {
    pub(super) fn new() -> Self {
        Self { before: change_mask(libc::SIG_BLOCK, &Signals::all()) }
    }
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        change_mask(libc::SIG_SETMASK, &self.before);
    }
}

fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only reads the old one; zeroed memory is a valid sigaction even
    // where the call refuses the number (then it stays SIG_DFL).
    let action = unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

/// Changes the thread's mask and returns the one before. Can't fail: `how` is one of the three.
fn change_mask(how: libc::c_int, set: &libc::sigset_t) -> libc::sigset_t {
    let mut before = empty();
    // SAFETY: both sets are valid for the call.
    let result = unsafe { libc::pthread_sigmask(how, set, &raw mut before) };
    debug_assert_eq!(result, 0, "{}", io::Error::from_raw_os_error(result));
    before
}

fn empty() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set and can't fail for a valid pointer.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn bit(signal: libc::c_int) -> u64 {
    1 << (signal - 1)
}
