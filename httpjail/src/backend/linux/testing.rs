//! What the kernel tests of this module share.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// A cgroup of a test's own. It ends, with all that lives in it, when dropped.
pub(super) struct TestCgroup {
    path: PathBuf,
    directory: File,
}

impl TestCgroup {
    /// Makes a cgroup below the root of the hierarchy. Needs root.
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("httpjail-test-{}-{number}", process::id());
        Self::make(&mount_point().join(name))
    }

    /// Makes a cgroup in this one.
    pub(super) fn child(&self, name: &str) -> Self {
        Self::make(&self.path.join(name))
    }

    fn make(path: &Path) -> Self {
        fs::create_dir(path).unwrap_or_else(|error| panic!("this test needs root: {error}"));
        Self { path: path.to_owned(), directory: File::open(path).unwrap() }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    pub(super) fn id(&self) -> u64 {
        self.directory.metadata().unwrap().ino()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        if fs::remove_dir(&self.path).is_ok() {
            return;
        }
        fs::write(self.path.join("cgroup.kill"), "1").unwrap();
        wait_until_empty(&self.path);
        fs::remove_dir(&self.path).unwrap();
    }
}

/// Waits for the kernel's word that the last process of a cgroup has ended.
pub(super) fn wait_until_empty(cgroup: &Path) {
    wait_for_event(cgroup, "populated 0");
}

/// Waits until a cgroup's `cgroup.events` has this line.
pub(super) fn wait_for_event(cgroup: &Path, line: &str) {
    use rustix::event::{PollFd, PollFlags, poll};
    let events = File::open(cgroup.join("cgroup.events")).unwrap();
    let deadline = rustix::fs::Timespec { tv_sec: 10, tv_nsec: 0 };
    let has_come = || fs::read_to_string(cgroup.join("cgroup.events")).unwrap().contains(line);
    while !has_come() {
        // A read arms the descriptor's own notification.
        rustix::io::pread(&events, &mut [0; 128], 0).unwrap();
        if has_come() {
            break;
        }
        let ready = poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&deadline)).unwrap();
        assert!(ready > 0, "{line:?} doesn't come");
    }
}

fn mount_point() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("a cgroup2 mount");
    PathBuf::from(line.split(' ').nth(4).unwrap())
}
