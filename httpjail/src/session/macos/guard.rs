//! What stands in pf for a run, taken down when this is dropped.

use httpjail_macos::{anchor, pfctl, state::State};

use super::{MacError, folder::Folder};

/// The jail's rules, loaded, and pf, enabled. It also holds the account.
#[derive(Debug)]
pub(super) struct Guard {
    folder: Folder,
    kept: bool,
}

impl Guard {
    /// Loads the rules, then enables pf. Each is noted before or as soon as it is, for whoever has to
    /// sweep.
    ///
    /// # Errors
    ///
    /// When pf can't be set up; what was is taken down again.
    pub(super) fn arm(jail: &anchor::Jail, folder: Folder) -> Result<Self, MacError> {
        let guard = Self { folder, kept: true };
        let mut state = State { anchor: jail.id.anchor(), token: None };
        guard.folder.note(&state).map_err(MacError::Folder)?;
        pfctl::load(&state.anchor, &jail.rules())?;
        state.token = Some(pfctl::enable()?);
        guard.folder.note(&state).map_err(MacError::Folder)?;
        Ok(guard)
    }

    /// Leaves what stands to another process that holds it, too; the lock stays with both.
    pub(super) fn leave(&mut self) {
        self.kept = false;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.kept {
            self.folder.clear();
        }
    }
}
