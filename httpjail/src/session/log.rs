//! Opening logs on behalf of the invoking user.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat2};

use super::{SessionError, service::Files, step_summary};
use crate::{
    backend::linux::user::{Identity, as_user},
    cli::plan::ProxyPlan,
    record::{LogError, LogFile},
};

/// A log, for the proxy to write.
pub(super) struct Log {
    /// The open file.
    pub(super) file: LogFile,
    /// Gives the file to the invoking user when the run is over.
    pub(super) owner: Option<Owner>,
}

/// Whom a new log belongs to once the jail is gone: while the jail lives the file is root's, or
/// the jailed program, which runs as the same user, could rewrite it.
pub(super) struct Owner {
    file: LogFile,
    uid: u32,
    gid: u32,
}

/// Opens all that `plan` writes to, and tells whose the files will be.
///
/// # Errors
///
/// As [`open`]; but a run goes on without the page of its job.
pub(super) fn open_all(
    plan: &ProxyPlan,
    identity: Option<&Identity>,
) -> Result<(Files, Owners), SessionError> {
    let open = |path: &Option<PathBuf>| {
        path.as_deref().map(|path| open(path, identity)).transpose().map(Log::split)
    };
    let (log, log_owner) = open(&plan.request_log)?;
    let (records, records_owner) = open(&plan.record)?;
    Ok((
        Files { log, records, step_summary: step_summary::open(plan, identity) },
        [log_owner, records_owner],
    ))
}

/// Whom the log and the records will belong to.
pub(super) type Owners = [Option<Owner>; 2];

impl Log {
    /// The file and whose it will be, of a log that may be wanted or not.
    fn split(log: Option<Self>) -> (Option<LogFile>, Option<Owner>) {
        log.map_or((None, None), |log| (Some(log.file), log.owner))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Err(error) = self.file.give_to(self.uid, self.gid) {
            tracing::warn!(%error, "a log stays root's");
        }
    }
}

/// Opens the log as the invoking user would: a link that a jailed program planted in a folder of
/// the user's must not lead a root process elsewhere.
///
/// Where the user may not write, root may, if nobody but root could have prepared the place:
/// `sudo httpjail --request-log /var/log/jail.log` works.
///
/// # Errors
///
/// [`LogError`] says what is at `path` instead.
pub(super) fn open(path: &Path, identity: Option<&Identity>) -> Result<Log, SessionError> {
    let Some(identity) = identity else {
        return Ok(Log { file: LogFile::open(path)?, owner: None });
    };
    match as_user(Some(identity), || LogFile::open(path)) {
        Ok(file) => Ok(keep(file, identity)
            .map_err(|source| LogError::Open { path: path.to_owned(), source })?),
        Err(LogError::Open { source, path }) if is_refusal(&source) => match root_folder(&path) {
            Some((_folder, through)) => Ok(Log { file: LogFile::open(&through)?, owner: None }),
            None => Err(LogError::Open { path, source }.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// Keeps a new log from its user until the run is over.
fn keep(file: LogFile, identity: &Identity) -> io::Result<Log> {
    file.give_to(0, 0)?;
    let owner = Owner { file: file.try_clone()?, uid: identity.uid(), gid: identity.gid() };
    Ok(Log { file, owner: Some(owner) })
}

fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// The file's folder, held open, and the file's path through it, if the folder is root's alone
/// and no link leads to it. The path stays right whatever is renamed meanwhile.
fn root_folder(path: &Path) -> Option<(OwnedFd, PathBuf)> {
    let name = path.file_name()?;
    let folder = match path.parent()? {
        parent if parent.as_os_str().is_empty() => Path::new("."),
        parent => parent,
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat2(CWD, folder, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()?;
    let stat = fstat(&folder).ok()?;
    let is_roots = stat.st_uid == 0 && stat.st_mode & 0o022 == 0;
    let through = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    is_roots.then_some((folder, through))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_folder_that_others_may_write_is_not_roots_alone() {
        let dir = tempfile::tempdir().unwrap();
        let set = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        let log = dir.path().join("log");
        set(0o755);
        assert!(root_folder(&log).is_some(), "this test needs root: cargo xtask test");
        set(0o777);
        assert!(root_folder(&log).is_none());
        set(0o775);
        assert!(root_folder(&log).is_none());
    }

    #[test]
    fn a_folder_behind_a_link_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        assert!(root_folder(&dir.path().join("real/log")).is_some());
        assert!(root_folder(&dir.path().join("link/log")).is_none());
    }
}
