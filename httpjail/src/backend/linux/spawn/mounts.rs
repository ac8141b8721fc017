//! What the jail sees of the machine's file systems: its own processes in `/proc`, no settings of
//! the kernel that it could write, and nothing where daemons listen.
//!
//! The parent plans ([`super::view`]), the child mounts. Nothing here allocates, locks or panics.

use std::{ffi::CStr, os::fd::RawFd, ptr};

use super::{
    child::check,
    error::{Failure, Step},
    view::{Kept, PROC, Private, View},
};

/// What takes the place of what is masked.
const NOTHING: &CStr = c"/dev/null";
/// Where runs leave word for those after them, which trust it (`session/run_dir.rs`).
const RUNS: &CStr = c"/run/httpjail";
/// Parts of `/proc` by which root changes the machine; not every kernel has all.
const MACHINE: [&CStr; 5] =
    [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"];
/// Flags of a fresh `/proc`.
const PLAIN: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

impl View {
    /// Makes it, in a mount namespace of the caller's own. Async-signal-safe.
    pub(super) fn make(&self) -> Result<(), Failure> {
        // What is mounted outside later shows in here; nothing that is done here shows outside.
        mount(None, c"/", None, libc::MS_REC | libc::MS_SLAVE)?;
        for tree in &self.read_only_trees {
            make_read_only(tree, libc::AT_RECURSIVE)?;
        }
        for one in &self.read_only {
            match make_read_only(one, 0) {
                // Something else was mounted over it or above it: it is out of reach already.
                Err(Failure { errno: libc::EINVAL, .. }) => {}
                changed => drop(mounted(changed)?),
            }
        }
        mount(Some(c"proc"), PROC, Some(c"proc"), PLAIN)?;
        for foreign in &self.foreign_proc {
            let flags = PLAIN | libc::MS_RDONLY;
            mounted(mount(Some(c"proc"), foreign, Some(c"proc"), flags))?;
        }
        for part in MACHINE {
            if mounted(mount(Some(part), part, None, libc::MS_BIND))? {
                let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | PLAIN;
                mount(None, part, None, flags)?;
            }
        }
        // Root in the jail must not leave word for a run outside.
        if mounted(mount(Some(RUNS), RUNS, None, libc::MS_BIND))? {
            make_read_only(RUNS, 0)?;
        }
        for private in &self.private {
            private.make()?;
        }
        self.mask()?;
        self.enter_again()
    }

    /// Takes the working directory below what covers it, or else to the cover, where it isn't there.
    fn enter_again(&self) -> Result<(), Failure> {
        let Some((folder, cover)) = &self.working else { return Ok(()) };
        // SAFETY: the paths are NUL-terminated.
        unsafe {
            if libc::chdir(folder.as_ptr()) == 0 {
                return Ok(());
            }
            check(Step::Mount, libc::chdir(cover.as_ptr()).into())
        }
    }

    fn mask(&self) -> Result<(), Failure> {
        // If this one were missing, every mask would seem to be needless.
        // SAFETY: the path is NUL-terminated.
        check(Step::Mask, unsafe { libc::access(NOTHING.as_ptr(), libc::F_OK) }.into())?;
        for path in &self.masked {
            let masked = mount(Some(NOTHING), path, None, libc::MS_BIND);
            mounted(masked.map_err(|failure| Failure { step: Step::Mask, ..failure }))?;
        }
        Ok(())
    }
}

impl Private {
    /// Covers the folder, and brings what is kept of it to where it was.
    fn make(&self) -> Result<(), Failure> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // The covered folder stays in reach by this descriptor.
        // SAFETY: the path is NUL-terminated.
        let covered = unsafe { libc::open(self.folder.as_ptr(), flags) };
        if !mounted(check(Step::Mount, covered.into()))? {
            return Ok(());
        }
        let (kind, flags) = (Some(c"tmpfs"), libc::MS_NOSUID | libc::MS_NODEV);
        let made = mount_with(kind, &self.folder, kind, flags, Some(&self.options))
            .and_then(|()| self.kept.iter().try_for_each(|kept| kept.bring(covered)));
        // SAFETY: it was opened above, and nothing uses it any more.
        unsafe { libc::close(covered) };
        made
    }
}

impl Kept {
    /// Mounts it in the new folder, out of the covered one.
    fn bring(&self, covered: RawFd) -> Result<(), Failure> {
        let flags = libc::OPEN_TREE_CLONE | libc::O_CLOEXEC as libc::c_uint;
        // SAFETY: the path is NUL-terminated.
        let tree =
            unsafe { libc::syscall(libc::SYS_open_tree, covered, self.within.as_ptr(), flags) };
        if !mounted(check(Step::Mount, tree))? {
            return Ok(());
        }
        let placed = self.make_place().and_then(|()| {
            // SAFETY: the paths are NUL-terminated.
            check(Step::Mount, unsafe {
                libc::syscall(
                    libc::SYS_move_mount,
                    tree,
                    c"".as_ptr(),
                    libc::AT_FDCWD,
                    self.path.as_ptr(),
                    libc::MOVE_MOUNT_F_EMPTY_PATH,
                )
            })
        });
        // SAFETY: it was opened above, and nothing uses it any more.
        unsafe { libc::close(tree as RawFd) };
        placed
    }

    /// Makes the folders between, and something to mount on.
    fn make_place(&self) -> Result<(), Failure> {
        for parent in &self.parents {
            // SAFETY: the path is NUL-terminated.
            unsafe {
                existing(libc::mkdir(parent.as_ptr(), 0o700))?;
                let (user, group) = self.user;
                check(Step::Mount, libc::lchown(parent.as_ptr(), user, group).into())?;
            }
        }
        // SAFETY: the path is NUL-terminated.
        unsafe {
            existing(match self.is_folder {
                true => libc::mkdir(self.path.as_ptr(), 0o700),
                false => libc::mknod(self.path.as_ptr(), libc::S_IFREG | 0o600, 0),
            })
        }
    }
}

/// Takes what is there for what was made.
fn existing(result: libc::c_int) -> Result<(), Failure> {
    match check(Step::Mount, result.into()) {
        Err(Failure { errno: libc::EEXIST, .. }) => Ok(()),
        made => made,
    }
}

/// Whether there was something to mount on.
fn mounted(result: Result<(), Failure>) -> Result<bool, Failure> {
    match result {
        Ok(()) => Ok(true),
        Err(Failure { errno: libc::ENOENT | libc::ENOTDIR, .. }) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// mount_setattr(2), Linux 5.12: this mount, and with `AT_RECURSIVE` those below it.
pub(super) fn make_read_only(path: &CStr, flags: libc::c_int) -> Result<(), Failure> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is NUL-terminated, and the size is the structure's.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    check(Step::Mount, result)
}

/// mount(2) without data.
fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
) -> Result<(), Failure> {
    mount_with(source, target, kind, flags, None)
}

/// mount(2).
pub(super) fn mount_with(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    data: Option<&CStr>,
) -> Result<(), Failure> {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    let (source, kind, data) = (pointer(source), pointer(kind), pointer(data));
    // SAFETY: all strings are NUL-terminated and outlive the call; null means none.
    let result = unsafe { libc::mount(source, target.as_ptr(), kind, flags, data.cast()) };
    check(Step::Mount, result.into())
}
