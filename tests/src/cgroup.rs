//! A cgroup of the test's own, below the one that the test runs in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::DEADLINE;

/// A cgroup; dropped, it takes all that is below it along.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup below this process's own.
    ///
    /// # Panics
    /// Without a cgroup2 mount that can be written to.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").expect("/proc is mounted");
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let own = own.expect("every process has a cgroup of version 2");
        Self::at(mount().join(own).join(name))
    }

    /// Makes a cgroup with this path.
    pub(crate) fn at(path: PathBuf) -> Self {
        fs::create_dir(&path).expect("a cgroup can be made (the tests need root)");
        Self { path }
    }

    /// Makes a cgroup below this one.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let path = self.path.join(name);
        fs::create_dir(&path).expect("a cgroup can be made");
        Self { path }
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name as /proc/PID/cgroup has it.
    #[must_use]
    pub fn name(&self) -> String {
        let below = self.path.strip_prefix(mount()).expect("made below the mount");
        format!("/{}", below.display())
    }

    /// Kills every process in it and below it.
    ///
    /// # Panics
    /// When the kernel has no `cgroup.kill`.
    pub fn kill(&self) {
        fs::write(self.path.join("cgroup.kill"), "1").expect("cgroup.kill (kernel 5.14)");
    }

    /// Whether a process is in it or below it.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn is_populated(&self) -> bool {
        is_populated(&self.path)
    }

    /// Waits until no process is in it or below it.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    pub fn wait_until_empty(&self) {
        wait_until_empty(&self.path);
    }

    /// Every cgroup below it, deepest first.
    #[must_use]
    pub fn descendants(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect(&self.path, &mut found);
        found
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if !self.path.exists() {
            return;
        }
        self.kill();
        self.wait_until_empty();
        let folders = self.descendants().into_iter().chain([self.path.clone()]);
        let failed: Vec<_> = folders.filter(|folder| remove(folder).is_err()).collect();
        assert!(failed.is_empty() || std::thread::panicking(), "cgroups are left: {failed:?}");
    }
}

/// Waits until no process is in a cgroup or below it.
///
/// # Panics
/// After [`DEADLINE`].
pub fn wait_until_empty(cgroup: &Path) {
    wait_for_event(cgroup, "populated 0");
}

/// Waits until the cgroup's `cgroup.events` has this line.
fn wait_for_event(cgroup: &Path, line: &str) {
    let deadline = Instant::now() + DEADLINE;
    let events = fs::File::open(cgroup.join("cgroup.events")).expect("the cgroup is there");
    while !events_of(cgroup).contains(line) {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "no {line:?} in {}", cgroup.display());
        let mut fds = [PollFd::new(&events, PollFlags::PRI)];
        let left = Timespec::try_from(left).expect("a deadline of seconds");
        poll(&mut fds, Some(&left)).expect("cgroup.events can be polled");
    }
}

fn is_populated(cgroup: &Path) -> bool {
    events_of(cgroup).contains("populated 1")
}

fn events_of(cgroup: &Path) -> String {
    fs::read_to_string(cgroup.join("cgroup.events")).expect("the cgroup is there")
}

/// Freezes a cgroup and what is below it, and waits until every process stands still.
///
/// # Panics
/// After [`DEADLINE`].
pub fn freeze(cgroup: &Path) {
    fs::write(cgroup.join("cgroup.freeze"), "1").expect("a cgroup can be frozen");
    wait_for_event(cgroup, "frozen 1");
}

/// Where cgroup2 is mounted: on a hybrid hierarchy beside the old controllers.
///
/// # Panics
/// When it is not mounted.
#[must_use]
pub fn mount() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let path = line.and_then(|line| line.split(' ').nth(4));
    PathBuf::from(path.expect("cgroup2 is mounted"))
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
            found.push(entry.path());
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
