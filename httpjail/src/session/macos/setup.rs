//! `httpjail setup`: makes an account for jails.

use std::ffi::OsStr;

use httpjail_macos::accounts;

use super::MacError;
use crate::{backend::user::Identity, session::SessionError};

/// Makes the account, if it isn't there; its name and id.
///
/// # Errors
///
/// When the caller isn't root, the name isn't that of a jail's account, or it can't be made.
pub fn setup(name: Option<&OsStr>) -> Result<(String, u32), SessionError> {
    if !rustix::process::geteuid().is_root() {
        return Err(SessionError::NotRoot);
    }
    let name = name.map_or(accounts::DEFAULT.into(), OsStr::to_string_lossy).into_owned();
    if accounts::is_for_jails(&name)
        && let Ok(account) = Identity::named(OsStr::new(&name))
    {
        return Ok((name, account.uid()));
    }
    let id = accounts::make(&name).map_err(MacError::from)?;
    Ok((name, id))
}
