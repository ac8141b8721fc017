//! What `ps` shows of the jail's init: a name, not the supervisor's arguments and environment.

use std::{io, ptr};

use crate::backend::linux::procfs;

/// What takes their place.
const NAME: &[u8] = b"httpjail-init\0";

/// Where the kernel finds the arguments and, after them, the environment of this process, and of
/// what is forked from it. Addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommandLine {
    start: usize,
    /// Where the arguments end.
    arguments: usize,
    /// Where all ends.
    end: usize,
}

impl CommandLine {
    /// Asks the kernel (`/proc/self/stat`, fields 48 to 51: proc_pid_stat(5)).
    pub(super) fn find() -> io::Result<Self> {
        let stat = procfs::read_to_string("/proc/self/stat")?;
        Self::parse(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, with whatever is in it.
        let (_, fields) = stat.rsplit_once(") ")?;
        let field = |number: usize| fields.split(' ').nth(number - 3)?.trim().parse().ok();
        let (start, arguments): (usize, usize) = (field(48)?, field(49)?);
        let (environment, last): (usize, usize) = (field(50)?, field(51)?);
        let end = if environment == arguments { last } else { arguments };
        (start != 0 && start < arguments && arguments <= end).then_some(Self {
            start,
            arguments,
            end,
        })
    }

    /// Overwrites them, and the short name. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// Only in a process that was forked from the one in which it was found, executed nothing
    /// since, and reads neither its arguments nor its environment any more.
    pub(super) unsafe fn replace(self) {
        for (offset, address) in (self.start..self.end).enumerate() {
            // Arguments whose last byte isn't zero were overwritten, the kernel thinks: it shows
            // what comes before the first zero (get_mm_cmdline in fs/proc/base.c).
            let rest = if address + 1 == self.arguments { b' ' } else { 0 };
            let byte = NAME.get(offset).copied().unwrap_or(rest);
            let place = ptr::with_exposed_provenance_mut::<u8>(address);
            // SAFETY: the kernel made this range writable at exec, and nothing else uses it (the
            // caller's promise).
            unsafe { place.write_volatile(byte) };
        }
        // SAFETY: PR_SET_NAME reads a NUL-terminated constant.
        unsafe { libc::prctl(libc::PR_SET_NAME, NAME.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel prints it, for a program whose name tries to mislead.
    const STAT: &str = "7 (a) R 1 (b) S 1 7 7 0 -1 4194304 98 0 0 0 0 0 0 0 20 0 1 0 12 3 4 5 6 7 8 \
        0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 9 10 11 1000 1010 1010 1090 0\n";

    #[test]
    fn finds_arguments_and_environment() {
        let found = CommandLine::parse(STAT).unwrap();
        assert_eq!((found.start, found.arguments, found.end), (1000, 1010, 1090));
        let apart = STAT.replace("1010 1010", "1010 1020");
        let found = CommandLine::parse(&apart).unwrap();
        assert_eq!((found.start, found.arguments, found.end), (1000, 1010, 1010));
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        assert!(CommandLine::parse("").is_none());
        assert!(CommandLine::parse("7 (a) R 1 2 3").is_none());
        let unreadable = STAT.replace("1000 1010 1010 1090", "0 0 0 0");
        assert!(CommandLine::parse(&unreadable).is_none());
        assert!(CommandLine::find().is_ok());
    }
}
