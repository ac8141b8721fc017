//! The folder of one run, and the lock that tells whether the run lives.
//!
//! Every run has `/run/httpjail/<id>/`, and its supervisor holds an exclusive `flock(2)` on that
//! folder for as long as it lives, however it ends. A folder that can be locked belongs to a
//! dead run; age says nothing.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

use super::fresh::{fresh_id, lock};

use crate::backend::linux::netns;

/// Where all runs of this machine keep their folders.
const BASE: &str = "/run/httpjail";
/// The file in which a run notes its cgroup before it makes it.
const CGROUP_FILE: &str = "cgroup";
/// The file in which it notes the cgroup of its rule's program, if it has one.
const RULES_FILE: &str = "rules-cgroup";
/// The file in which it notes the containers that go with it, and the tool that removes them.
const CONTAINERS_FILE: &str = "containers";
/// The path of its container's network namespace.
const NETNS_FILE: &str = "netns";
/// What stays until the end.
const NOTES: [&str; 4] = [CGROUP_FILE, RULES_FILE, CONTAINERS_FILE, NETNS_FILE];
/// Folders that are being made start with this; a dead one is swept like any other.
const UNBORN: &str = ".new-";
/// Attempts at a fresh id before giving up; more than one is needed only when another run
/// sweeps a folder in the instant between its making and its locking.
const ATTEMPTS: usize = 16;

/// The folder of this run, locked; it is removed when this is dropped.
#[derive(Debug)]
pub(super) struct RunDir {
    id: String,
    path: PathBuf,
    _lock: OwnedFd,
}

/// The folder of a run whose supervisor is dead, locked by us.
#[derive(Debug)]
pub(super) struct DeadRun {
    path: PathBuf,
    _lock: OwnedFd,
}

impl RunDir {
    /// Makes and locks a folder with a fresh id.
    ///
    /// # Errors
    ///
    /// When `/run/httpjail` can't be written.
    pub(super) fn create() -> io::Result<Self> {
        ensure_base()?;
        for _ in 0..ATTEMPTS {
            match Self::with_id(fresh_id()?) {
                Ok(dir) => return Ok(dir),
                // The id is taken, or a sweep took the folder before it was locked.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("no free folder name was found"))
    }

    /// Makes the folder under a name of its own, locks it, then renames it.
    fn with_id(id: String) -> io::Result<Self> {
        let unborn = Path::new(BASE).join(format!("{UNBORN}{id}"));
        fs::DirBuilder::new().mode(0o755).create(&unborn)?;
        // The caller's umask must not hide the CA bundle from the jailed user.
        fs::set_permissions(&unborn, fs::Permissions::from_mode(0o755))?;
        let lock = lock(&unborn, FlockOperation::LockExclusive)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let path = Path::new(BASE).join(&id);
        fs::rename(&unborn, &path)?;
        Ok(Self { id, path, _lock: lock })
    }

    /// The run's id: eight hexadecimal digits.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what the command needed; the folder, its lock and the notes of cgroups stay.
    pub(super) fn clear(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        let is_note = |name: &OsStr| NOTES.iter().any(|note| name == *note);
        for entry in entries.filter_map(Result::ok).filter(|entry| !is_note(&entry.file_name())) {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            // What stays is removed with the folder.
            let _ = match is_folder {
                true => fs::remove_dir_all(entry.path()),
                false => fs::remove_file(entry.path()),
            };
        }
    }

    /// Notes the run's cgroup, for whoever has to sweep after this run. To be called before the
    /// cgroup is made.
    ///
    /// # Errors
    ///
    /// What writing the file says.
    pub(super) fn note_cgroup(&self, cgroup: &Path) -> io::Result<()> {
        fs::write(self.path.join(CGROUP_FILE), cgroup.as_os_str().as_bytes())
    }

    /// Notes the cgroup of the rule's program, as [`RunDir::note_cgroup`] does the jail's.
    ///
    /// # Errors
    ///
    /// What writing the file says.
    pub(super) fn note_rules(&self, cgroup: &Path) -> io::Result<()> {
        fs::write(self.path.join(RULES_FILE), cgroup.as_os_str().as_bytes())
    }

    /// Notes containers for whoever has to sweep after this run, in the place of those noted before.
    ///
    /// # Errors
    ///
    /// What writing the file says.
    pub(super) fn note_containers(&self, note: &str) -> io::Result<()> {
        // It tells of the caller's environment.
        let mut options = fs::File::options();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(self.path.join(CONTAINERS_FILE))?;
        io::Write::write_all(&mut file, note.as_bytes())
    }

    /// Where the run's container finds its network namespace.
    pub(super) fn netns(&self) -> PathBuf {
        self.path.join(NETNS_FILE)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

impl DeadRun {
    /// The folders of all dead runs. A run that lives, in whatever state, is never listed.
    pub(super) fn all() -> Vec<Self> {
        let Ok(entries) = fs::read_dir(BASE) else { return Vec::new() };
        entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| {
                let path = entry.path();
                let held = lock(&path, FlockOperation::NonBlockingLockExclusive).ok()??;
                Some(Self { path, _lock: held })
            })
            .collect()
    }

    /// The cgroup that the run noted, if it came that far.
    pub(super) fn cgroup(&self) -> Option<PathBuf> {
        self.noted(CGROUP_FILE)
    }

    /// The cgroup of its rule's program, if it noted one.
    pub(super) fn rules(&self) -> Option<PathBuf> {
        self.noted(RULES_FILE)
    }

    /// What it noted of containers, if it noted any.
    pub(super) fn containers(&self) -> Option<String> {
        fs::read_to_string(self.path.join(CONTAINERS_FILE)).ok()
    }

    fn noted(&self, file: &str) -> Option<PathBuf> {
        let noted = fs::read(self.path.join(file)).ok()?;
        Some(PathBuf::from(OsString::from_vec(noted)))
    }

    /// Removes the folder.
    pub(super) fn remove(self) {
        remove(&self.path);
    }
}

/// Whether a run with this id has a folder, alive or dead.
pub(super) fn exists(id: &str) -> bool {
    Path::new(BASE).join(id).is_dir()
}

/// Makes `/run/httpjail`, owned by root and closed to others' writing.
fn ensure_base() -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(BASE) {
        Ok(()) => fs::set_permissions(BASE, fs::Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes a run's folder; what can't be removed is left to the next sweep.
fn remove(path: &Path) {
    netns::unpin(&path.join(NETNS_FILE));
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
    fn a_folder_that_is_locked_cannot_be_locked_again() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path(), FlockOperation::LockExclusive).unwrap();
        assert!(held.is_some());
        let again = lock(dir.path(), FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(again.is_none());
        drop(held);
        let after = lock(dir.path(), FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(after.is_some());
    }

    #[test]
    fn a_folder_that_is_gone_is_not_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        assert!(lock(&gone, FlockOperation::LockExclusive).unwrap().is_none());
    }

    #[test]
    fn ids_are_eight_hexadecimal_digits() {
        let id = fresh_id().unwrap();
        assert_eq!(id.len(), 8);
        assert!(id.bytes().all(|b| b.is_ascii_hexdigit()));
    }
}
