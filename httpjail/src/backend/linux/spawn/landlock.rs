//! A Landlock domain around the jail: no connection to Unix sockets of programs outside, no signal
//! to a process outside, and no debugger on one (Landlock denies ptrace out of every domain).
//!
//! The namespaces leave the first open, because abstract names belong to the network namespace,
//! which the jail shares, and paths to file systems that it shares; and of the second, signals to
//! the process group that it shares.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
    ptr,
};

use super::{
    child::check,
    error::{Failure, Step},
};

/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET` and `LANDLOCK_SCOPE_SIGNAL` (include/uapi/linux/landlock.h,
/// Linux 6.12).
const SCOPED: u64 = 1 | 1 << 1;
/// The first version with scopes.
const SCOPES: libc::c_long = 6;
/// `LANDLOCK_ACCESS_FS_RESOLVE_UNIX`: reaching a socket by its path, unless it was made within the
/// domain (ADR 9).
const RESOLVE_UNIX: u64 = 1 << 16;
/// The first version with it (Linux 7.1).
const PATHS: libc::c_long = 9;
/// `LANDLOCK_ACCESS_FS_REFER`: moves and links between folders, which a domain that handles anything
/// of files refuses if no rule allows them.
const REFER: u64 = 1 << 13;
/// `LANDLOCK_CREATE_RULESET_VERSION`: ask for the version, make nothing.
const ASK: u32 = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const BENEATH: u32 = 1;

/// A domain to be entered.
#[derive(Debug)]
pub(super) struct Domain {
    attributes: Attributes,
    /// What is allowed at and below which path.
    rules: Vec<(CString, u64)>,
}

/// `struct landlock_ruleset_attr`.
#[repr(C)]
#[derive(Debug)]
struct Attributes {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// Whether the kernel can do it.
pub(crate) fn is_there() -> bool {
    version() >= SCOPES
}

/// Landlock's version on this kernel; negative: there is none.
fn version() -> libc::c_long {
    // SAFETY: with this flag the call takes no memory.
    unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, ASK)
    }
}

impl Domain {
    /// What this kernel can do. The sockets at or below `open` stay within reach.
    pub(super) fn plan(open: &[PathBuf]) -> Option<Self> {
        Self::of(version(), open).map(Self::or_scopes)
    }

    /// The scopes alone where the kernel doesn't take all of it, whatever its version says: they are
    /// left by the child's own attempt to make them, or nothing runs.
    fn or_scopes(self) -> Self {
        match self.attributes.make() {
            Ok(_) => self,
            Err(error) => {
                tracing::debug!(%error, "the kernel doesn't take Landlock's right to sockets");
                Self::scopes()
            }
        }
    }

    fn scopes() -> Self {
        let attributes = Attributes { handled_access_fs: 0, handled_access_net: 0, scoped: SCOPED };
        Self { attributes, rules: Vec::new() }
    }

    fn of(version: libc::c_long, open: &[PathBuf]) -> Option<Self> {
        if version < SCOPES {
            return None;
        }
        let scopes = Self::scopes();
        if version < PATHS {
            return Some(scopes);
        }
        let attributes =
            Attributes { handled_access_fs: RESOLVE_UNIX | REFER, ..scopes.attributes };
        let open = open.iter().filter_map(|path| CString::new(path.as_os_str().as_bytes()).ok());
        let open = open.map(|path| (path, RESOLVE_UNIX));
        let rules = std::iter::once((c"/".to_owned(), REFER)).chain(open).collect();
        Some(Self { attributes, rules })
    }

    /// Enters it for good. Needs CAP_SYS_ADMIN or no_new_privs. Async-signal-safe.
    pub(super) fn enter(&self) -> Result<(), Failure> {
        const STEP: Step = Step::EnterDomain;
        let made = self.attributes.make().map_err(|error| Failure {
            step: STEP,
            errno: error.raw_os_error().unwrap_or_default(),
        })?;
        let ruleset = made.as_raw_fd();
        for (path, access) in &self.rules {
            allow(ruleset, path, *access)?;
        }
        // SAFETY: the call takes plain numbers. The ruleset is closed here.
        check(STEP, unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0_u32) })
    }
}

impl Attributes {
    /// Makes a ruleset of it. Async-signal-safe.
    fn make(&self) -> io::Result<OwnedFd> {
        let (attributes, size) = (ptr::from_ref(self), size_of_val(self));
        // SAFETY: the size is the structure's; the descriptor is new, and nobody else's.
        unsafe {
            match libc::syscall(libc::SYS_landlock_create_ruleset, attributes, size, 0_u32) {
                -1 => Err(io::Error::last_os_error()),
                made => Ok(OwnedFd::from_raw_fd(made as libc::c_int)),
            }
        }
    }
}

fn allow(ruleset: libc::c_int, path: &CString, access: u64) -> Result<(), Failure> {
    const STEP: Step = Step::EnterDomain;
    // SAFETY: the path is NUL-terminated, the rule valid for the call; the descriptor is made and
    // closed here.
    unsafe {
        let place = libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
        match check(STEP, place.into()) {
            // Gone since it was found: there is nothing to reach.
            Err(Failure { errno: libc::ENOENT, .. }) => return Ok(()),
            opened => opened?,
        }
        let rule = Beneath { allowed_access: access, parent_fd: place };
        let add = libc::SYS_landlock_add_rule;
        let added = libc::syscall(add, ruleset, BENEATH, &raw const rule, 0_u32);
        let added = check(STEP, added);
        libc::close(place);
        added
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, thread};

    use super::*;

    #[test]
    fn asks_for_what_the_kernel_has() {
        let open = [PathBuf::from("/run/a.sock")];
        assert!(Domain::of(-1, &open).is_none() && Domain::of(5, &open).is_none());
        let scopes = Domain::of(8, &open).unwrap();
        assert_eq!((scopes.attributes.handled_access_fs, scopes.rules.len()), (0, 0));
        let paths = Domain::of(9, &open).unwrap();
        assert_eq!(paths.attributes.handled_access_fs, 0x1_2000);
        let rules = [(c"/".to_owned(), 0x2000), (c"/run/a.sock".to_owned(), 0x1_0000)];
        assert_eq!(paths.rules, rules);
    }

    #[test]
    fn a_right_that_the_kernel_does_not_take_is_given_up() {
        let mut domain = Domain::of(9, &[]).unwrap();
        domain.attributes.handled_access_fs |= 1 << 63;
        assert!(domain.attributes.make().is_err());
        let left = domain.or_scopes();
        assert_eq!((left.attributes.handled_access_fs, left.rules.len()), (0, 0));
        assert_eq!(left.attributes.scoped, SCOPED);
        let kept = Domain::of(6, &[]).unwrap().or_scopes();
        assert_eq!(kept.attributes.scoped, SCOPED);
    }

    /// By a right that every kernel with Landlock has.
    #[test]
    fn a_right_is_left_where_a_rule_says_so_and_files_move_as_before() {
        const MAKE_SYM: u64 = 1 << 12;
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["open", "shut"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("open/file"), "").unwrap();
        let c_path = |name| CString::new(path(name).as_os_str().as_bytes()).unwrap();
        let domain = Domain {
            attributes: Attributes {
                handled_access_fs: MAKE_SYM | REFER,
                handled_access_net: 0,
                scoped: 0,
            },
            rules: vec![
                (c"/".to_owned(), REFER),
                (c_path("open"), MAKE_SYM),
                (c_path("absent"), MAKE_SYM),
            ],
        };
        let inside = || {
            domain.enter().unwrap();
            symlink("file", path("open/link")).unwrap();
            let refused = symlink("file", path("shut/link")).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
            fs::rename(path("open/file"), path("shut/file")).unwrap();
            fs::hard_link(path("shut/file"), path("open/again")).unwrap();
        };
        // The domain is the thread's alone.
        thread::scope(|scope| scope.spawn(inside).join().unwrap());
        symlink("file", path("shut/link")).unwrap();
    }
}
