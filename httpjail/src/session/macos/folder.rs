//! The folder of a run, one for each account, and the lock that tells whether the run lives.
//!
//! `/var/run/httpjail/<account>.lock` is held for as long as the keeper lives, however it ends; the folder `/var/run/httpjail/<account>/` holds what the command needs, and the note of
//! what stands in pf. Whoever gets the lock and finds a note sweeps after a dead run.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use httpjail_macos::{accounts, pfctl, state::State};
use rustix::fs::FlockOperation;

use super::MacError;
use crate::{
    backend::{macos::process, user::Identity},
    session::{SessionError, Swept},
};

/// Where all runs keep their folders. macOS empties it when it starts, and pf is empty then, too.
const BASE: &str = "/var/run/httpjail";
/// The note of what stands in pf.
const NOTE: &str = "pf";

/// The folder of a run that lives. What it noted in pf and the folder are removed by
/// [`Folder::clear`], not by dropping it: two processes hold it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes the account for this run, and removes what a dead one left.
    ///
    /// # Errors
    ///
    /// When another run has it, when processes of the account can't be ended, or when the folder
    /// can't be made.
    pub(super) fn take(account: &Identity) -> Result<Self, SessionError> {
        let failed = MacError::Folder;
        let name = account.name().to_string_lossy();
        make_folder(Path::new(BASE)).map_err(failed)?;
        let Some(folder) = Self::lock(&name).map_err(failed)? else {
            return Err(MacError::Taken(name.into_owned()).into());
        };
        if folder.sweep(account).map_err(MacError::Remains)? {
            tracing::info!(%name, "removed what a dead run had left");
        }
        make_folder(&folder.path).map_err(failed)?;
        Ok(folder)
    }

    /// `None`: another run has it.
    fn lock(account: &str) -> io::Result<Option<Self>> {
        let mut options = File::options();
        options.write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let lock = options.open(Path::new(BASE).join(format!("{account}.lock")))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { path: Path::new(BASE).join(account), _lock: lock })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes what stands in pf, in a way that leaves the old note or the new one.
    ///
    /// # Errors
    ///
    /// What writing the file says.
    pub(super) fn note(&self, state: &State) -> io::Result<()> {
        let (note, new) = (self.path.join(NOTE), self.path.join(".pf"));
        fs::write(&new, state.encode())?;
        fs::rename(new, note)
    }

    /// Ends what a dead run left, its processes first: without pf's rules they would have network.
    /// `true`: it left something.
    ///
    /// # Errors
    ///
    /// When processes can't be ended; the rules stay then.
    fn sweep(&self, account: &Identity) -> io::Result<bool> {
        process::end_all_of(account)?;
        Ok(self.clear())
    }

    /// Takes down what the note names, and removes the folder. `true`: there was one. What can't be
    /// taken down keeps its folder, for the next sweep.
    pub(super) fn clear(&self) -> bool {
        let note = match fs::read_to_string(self.path.join(NOTE)) {
            Ok(note) => State::decode(&note),
            Err(_) => None,
        };
        if let Some(state) = &note {
            let flushed = pfctl::flush(&state.anchor);
            let released = state.token.as_ref().map_or(Ok(()), pfctl::release);
            if let Err(error) = &released {
                // It may have been released already, or the system was started anew.
                tracing::debug!(%error, "pf's token was not taken");
            }
            if let Err(error) = flushed {
                tracing::warn!(%error, anchor = state.anchor, "pf's rules of a jail could not be removed");
                return false;
            }
        }
        match fs::remove_dir_all(&self.path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the run's folder could not be removed");
                false
            }
        }
    }
}

/// Removes what dead runs left. Nothing stays between runs on macOS but the accounts, so `all` asks
/// for no more.
///
/// # Errors
///
/// When the caller isn't root, or when processes of a dead run can't be ended.
pub fn cleanup(_all: bool) -> Result<Swept, SessionError> {
    if !rustix::process::geteuid().is_root() {
        return Err(SessionError::NotRoot);
    }
    let Ok(entries) = fs::read_dir(BASE) else { return Ok(Swept::default()) };
    let names =
        entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok());
    let accounts = names.filter(|name| accounts::is_for_jails(name));
    let mut swept = Swept::default();
    for name in accounts {
        let Ok(account) = Identity::named(OsStr::new(&name)) else { continue };
        let Ok(Some(folder)) = Folder::lock(&name) else { continue };
        if folder.sweep(&account).map_err(MacError::Remains)? {
            swept.runs += 1;
        }
    }
    Ok(swept)
}

/// Makes a folder that all may read and root alone may write, whatever the umask.
fn make_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
