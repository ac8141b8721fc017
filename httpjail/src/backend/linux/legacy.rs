//! Cgroups of version 1, which container engines make beside those of version 2 where both are
//! mounted, and whose parents they leave behind.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{cgroup::Hierarchy, procfs};

/// Removes the cgroups of version 1 that are called as `path`, one of version 2, is, and those below
/// them. One that still holds a process stays.
pub(crate) fn remove(hierarchy: &Hierarchy, path: &Path) {
    let Ok(below) = path.strip_prefix(hierarchy.root()) else { return };
    let Ok(mounts) = procfs::read_to_string("/proc/self/mountinfo") else { return };
    mounts.lines().filter_map(mount_point).for_each(|mount| remove_tree(&mount.join(below)));
}

/// Where a line of mountinfo (proc(5)) mounts cgroups of version 1, if it does.
fn mount_point(line: &str) -> Option<PathBuf> {
    let (head, tail) = line.split_once(" - ")?;
    let is_v1 = tail.split(' ').next() == Some("cgroup");
    is_v1.then(|| head.split(' ').nth(4).map(PathBuf::from)).flatten()
}

fn remove_tree(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter_map(Result::ok).filter(is_folder).for_each(|entry| remove_tree(&entry.path()));
    if let Err(error) = fs::remove_dir(path) {
        tracing::debug!(path = %path.display(), %error, "a cgroup of version 1 stays");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_version_1_from_version_2() {
        let line = |kind| format!("33 24 0:29 / /sys/fs/cgroup/cpu rw shared:9 - {kind} x rw");
        assert_eq!(mount_point(&line("cgroup")), Some("/sys/fs/cgroup/cpu".into()));
        assert_eq!(mount_point(&line("cgroup2")), None);
        assert_eq!(mount_point(""), None);
    }
}
