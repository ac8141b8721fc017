//! The cgroup v2 hierarchy: where it is mounted, and cgroups as things to make, empty and
//! remove.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FlockOperation, Mode, OFlags},
};

use super::{procfs, remains::Remains};

/// Where cgroup v2 is mounted, and the caller's place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    mount: PathBuf,
    own: PathBuf,
}

impl Hierarchy {
    /// Finds both in `/proc/self`.
    ///
    /// # Errors
    ///
    /// When `/proc` can't be read or no cgroup v2 is mounted.
    pub(crate) fn find() -> io::Result<Self> {
        let mounts = procfs::read_to_string("/proc/self/mountinfo")?;
        let cgroups = procfs::read_to_string("/proc/self/cgroup")?;
        Self::parse(&mounts, &cgroups).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "no cgroup v2 hierarchy is mounted")
        })
    }

    /// mountinfo has the mount point in field 5 and the type after the hyphen (proc(5)); the v2
    /// line of `cgroup` begins with `0::` (cgroups(7)).
    fn parse(mounts: &str, cgroups: &str) -> Option<Self> {
        let mount = mounts.lines().find_map(|line| {
            let (head, tail) = line.split_once(" - ")?;
            let is_v2 = tail.split(' ').next() == Some("cgroup2");
            is_v2.then(|| head.split(' ').nth(4)).flatten()
        })?;
        let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
        let own = Path::new(path).strip_prefix("/").ok()?;
        Some(Self { mount: PathBuf::from(mount), own: own.to_owned() })
    }

    /// The root of the hierarchy, as far as it is visible here.
    pub(crate) fn root(&self) -> &Path {
        &self.mount
    }

    /// The caller's own cgroup.
    pub(crate) fn own(&self) -> PathBuf {
        if self.own.as_os_str().is_empty() {
            self.mount.clone()
        } else {
            self.mount.join(&self.own)
        }
    }

    /// How deep a cgroup stands below the root.
    pub(crate) fn level(&self, path: &Path) -> u32 {
        let below = path.strip_prefix(&self.mount).map_or(0, |path| path.components().count());
        u32::try_from(below).unwrap_or(u32::MAX)
    }

    /// Whether `path` is below the root, without detours.
    pub(crate) fn contains(&self, path: &Path) -> bool {
        use std::path::Component;
        path.strip_prefix(&self.mount)
            .is_ok_and(|below| below.components().all(|part| matches!(part, Component::Normal(_))))
    }

    /// A process's cgroup, as an absolute path.
    pub(crate) fn of_process(&self, pid: u32) -> Option<PathBuf> {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
        Some(self.mount.join(Path::new(path).strip_prefix("/").ok()?))
    }
}

/// An open cgroup.
#[derive(Debug)]
pub(crate) struct CgroupDir {
    path: PathBuf,
    fd: OwnedFd,
    id: u64,
}

impl CgroupDir {
    /// Opens an existing cgroup.
    ///
    /// # Errors
    ///
    /// When it isn't there.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        // The inode number of a cgroup's directory is its id (kernfs, 64-bit machines).
        let id = rustix::fs::fstat(&fd)?.st_ino;
        Ok(Self { path: path.to_owned(), fd, id })
    }

    /// Makes a cgroup.
    ///
    /// # Errors
    ///
    /// When it is there already, or its parent refuses.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir(path)?;
        Self::open(path)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its id: unique while the machine is up.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Locks it for this process's life; `false`: somebody else holds it. A living run holds its
    /// jail's cgroup, so nobody in another mount namespace (with another `/run`) takes it for
    /// dead.
    ///
    /// # Errors
    ///
    /// What `flock(2)` says.
    pub(crate) fn try_lock(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills every process in it and below it, the frozen ones too (`cgroup.kill`, Linux 5.14).
    ///
    /// # Errors
    ///
    /// When the file can't be written.
    pub(crate) fn kill(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// Waits until no process is in it or below it.
    ///
    /// # Errors
    ///
    /// `TimedOut` when some are still there after `limit`; its text says which, and what holds them.
    pub(crate) fn wait_empty(&self, limit: Duration) -> io::Result<()> {
        let events = fs::File::open(self.path.join("cgroup.events"))?;
        let deadline = Instant::now() + limit;
        loop {
            let mut text = [0; 256];
            let length = rustix::io::pread(&events, &mut text, 0)?;
            let text = str::from_utf8(text.get(..length).unwrap_or_default()).unwrap_or_default();
            if text.lines().any(|line| line == "populated 0") {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, Remains::of(&self.path)));
            }
            let timeout = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            // A change of the file is an exceptional condition (cgroups(7)).
            let mut fds = [PollFd::new(&events, PollFlags::PRI)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Removes it and the cgroups below it, which must be empty.
    ///
    /// # Errors
    ///
    /// When one still holds a process.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove_tree(&self.path)
    }
}

impl AsFd for CgroupDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Depth first: the kernel removes only cgroups without children.
fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        other => return other,
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(path) {
        // A container engine removes its own.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// All cgroups below `root` whose name satisfies `wanted`; what is below them isn't searched.
pub(super) fn find_below(root: &Path, wanted: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.filter_map(Result::ok) {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let is_wanted = entry.file_name().to_str().is_some_and(wanted);
            if is_wanted { found.push(entry.path()) } else { waiting.push(entry.path()) }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;
    use crate::backend::linux::testing::{TestCgroup, wait_for_event};

    /// A process outside every namespace of ours. It ends when dropped.
    struct Sleeper(Child);

    impl Sleeper {
        fn start_in(cgroup: &Path) -> Self {
            let sleeper = Self(Command::new("sleep").arg("1000").spawn().unwrap());
            fs::write(cgroup.join("cgroup.procs"), sleeper.0.id().to_string()).unwrap();
            sleeper
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn tells_who_is_left_and_what_holds_them() {
        let cgroup = TestCgroup::new();
        let nested = cgroup.child("nested");
        let sleeper = Sleeper::start_in(nested.path());
        let pid = sleeper.0.id();
        let dir = CgroupDir::open(cgroup.path()).unwrap();
        let error = dir.wait_empty(Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let told = format!("still there: {pid} (\"sleep\", ");
        assert!(error.to_string().starts_with(&told), "{error}");
        fs::write(nested.path().join("cgroup.freeze"), "1").unwrap();
        wait_for_event(nested.path(), "frozen 1");
        let error = dir.wait_empty(Duration::ZERO).unwrap_err();
        assert_eq!(error.to_string(), format!("{told}frozen)"));
    }

    #[test]
    fn ends_frozen_processes_in_nested_cgroups() {
        let outer = TestCgroup::new();
        let dir = CgroupDir::create(&outer.path().join("jail")).unwrap();
        let nested = dir.path().join("a/b");
        fs::create_dir_all(&nested).unwrap();
        let _sleepers = [dir.path(), &nested].map(Sleeper::start_in);
        fs::write(dir.path().join("cgroup.freeze"), "1").unwrap();
        wait_for_event(dir.path(), "frozen 1");
        assert!(dir.remove().is_err(), "it isn't empty");
        dir.kill().unwrap();
        dir.wait_empty(Duration::from_secs(10)).unwrap();
        dir.remove().unwrap();
        assert!(!dir.path().exists());
    }

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    const UNIFIED: &str =
        "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn finds_the_hierarchy_in_a_hybrid_layout() {
        let found = Hierarchy::parse(HYBRID, "4:memory:/a\n0::/\n").unwrap();
        assert_eq!(found.root(), Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(found.own(), Path::new("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn finds_the_callers_cgroup_in_a_unified_layout() {
        let found = Hierarchy::parse(UNIFIED, "0::/user.slice/session-1.scope\n").unwrap();
        let own = Path::new("/sys/fs/cgroup/user.slice/session-1.scope");
        assert_eq!(found.own(), own);
        assert_eq!(found.level(own), 2);
    }

    #[test]
    fn a_machine_without_cgroup_v2_is_told() {
        assert_eq!(Hierarchy::parse("1 2 0:1 / / rw - ext4 /dev/vda rw\n", "0::/\n"), None);
        assert_eq!(Hierarchy::parse(UNIFIED, "1:cpu:/\n"), None);
    }

    #[test]
    fn detours_are_not_below_the_root() {
        let found = Hierarchy::parse(UNIFIED, "0::/\n").unwrap();
        assert!(found.contains(Path::new("/sys/fs/cgroup/a/jail-1")));
        assert!(!found.contains(Path::new("/sys/fs/cgroup/a/../../../../etc")));
        assert!(!found.contains(Path::new("/etc")));
    }
}
