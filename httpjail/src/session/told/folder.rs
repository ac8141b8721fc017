//! The folder of a run whose user may write nowhere but where everybody may.
//!
//! Its name is a fresh one, and whoever made it holds a lock on it for as long as they live. A folder
//! of the user's that can be locked belongs to a dead run.

use std::{
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

use crate::session::fresh::{fresh_id, lock};

const PREFIX: &str = "httpjail-run-";
const UNBORN: &str = ".httpjail-new-";

/// A folder for the certificates that the command reads; removed when this is dropped.
#[derive(Debug)]
pub(in crate::session) struct Folder {
    path: PathBuf,
    /// Whether it is this process's to remove.
    is_kept: bool,
    _lock: OwnedFd,
}

impl Folder {
    /// Makes one in `place`, and removes those of dead runs.
    ///
    /// # Errors
    ///
    /// When none can be made.
    pub(in crate::session) fn create(place: &Path) -> io::Result<Self> {
        sweep(place);
        let id = fresh_id()?;
        // Under a name that no other run sweeps before it is locked.
        let unborn = place.join(format!("{UNBORN}{id}"));
        fs::DirBuilder::new().mode(0o700).create(&unborn)?;
        let held = lock(&unborn, FlockOperation::LockExclusive)?;
        let held = held.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        // Whoever the command runs as can read it, whatever the umask.
        fs::set_permissions(&unborn, fs::Permissions::from_mode(0o755))?;
        let path = place.join(format!("{PREFIX}{id}"));
        fs::rename(&unborn, &path)?;
        Ok(Self { path, is_kept: true, _lock: held })
    }

    /// Leaves it to another process that holds it, too; the lock stays with both.
    #[cfg(target_os = "macos")]
    pub(in crate::session) fn leave(&mut self) {
        self.is_kept = false;
    }

    /// Where it is.
    pub(in crate::session) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_kept {
            remove(&self.path);
        }
    }
}

/// Removes what dead runs of this user left.
fn sweep(place: &Path) {
    let own = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let is_run = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let is_own = || entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == own);
        if !is_run || !is_own() {
            continue;
        }
        if let Ok(Some(_held)) = lock(&entry.path(), FlockOperation::NonBlockingLockExclusive) {
            remove(&entry.path());
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "the run's folder could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_dead_runs_are_removed() {
        let place = tempfile::tempdir().unwrap();
        let living = Folder::create(place.path()).unwrap();
        let dead = place.path().join(format!("{PREFIX}0"));
        let other = place.path().join("other");
        for path in [&dead, &other] {
            fs::create_dir(path).unwrap();
        }
        let second = Folder::create(place.path()).unwrap();
        assert!(living.path().is_dir() && second.path().is_dir() && other.is_dir());
        assert!(!dead.exists());
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }
}
