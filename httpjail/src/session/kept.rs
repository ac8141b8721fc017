//! Where the kept authority of a user is.

use std::path::PathBuf;

use rustix::process::geteuid;

use super::SessionError;
use crate::{
    backend::user::Identity,
    tls::{Kept, kept_folder},
};

/// Opens the kept authority of whoever runs this process, or makes it.
///
/// # Errors
///
/// When the user has no home, or the authority can't be used.
pub fn open() -> Result<Kept, SessionError> {
    Ok(Kept::open(&own_folder()?)?)
}

/// The folder. Root's is by the system's database: sudo may leave the variables as they were, and
/// others own what is there.
fn own_folder() -> Result<PathBuf, SessionError> {
    if geteuid().is_root() {
        return Ok(kept_folder(None, Identity::look_up(0, 0)?.home()));
    }
    let variable =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = variable("HOME").ok_or(SessionError::NoHome)?;
    Ok(kept_folder(variable("XDG_CONFIG_HOME").as_deref(), &home))
}

/// The folders in which a command could find the key of a kept authority: its user's own, and those
/// that the caller's environment names. Links are followed; those that aren't there are left out.
#[cfg(target_os = "linux")]
pub(super) fn within_reach(jailed: Option<&Identity>) -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let homes = [variable("HOME"), jailed.map(|jailed| jailed.home().to_owned())];
    let mut folders: Vec<_> = homes.iter().flatten().map(|home| kept_folder(None, home)).collect();
    folders.extend(variable("XDG_CONFIG_HOME").map(|xdg| kept_folder(Some(&xdg), "/".as_ref())));
    let mut there: Vec<_> = folders.iter().filter_map(|path| path.canonicalize().ok()).collect();
    there.sort();
    there.dedup();
    there
}
