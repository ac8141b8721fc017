//! Whether the command could change the program that decides about it: what it wrote there would run
//! outside of the jail.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    SessionError,
    rule_file::{GROUP, OTHERS, STICKY},
};
use crate::{
    backend::user::Identity,
    cli::plan::Lacking,
    rules::{Program, Rules},
};

/// Warns of a rule's program that the command may write to, or refuses to go on.
///
/// # Errors
///
/// When the plan wants every guard.
pub(super) fn tell_of_changeable(
    rules: &Rules,
    command: Option<&Identity>,
    lacking: Lacking,
) -> Result<(), SessionError> {
    let Rules::Program(program) = rules else { return Ok(()) };
    let option = program.kind().option();
    match (changeable(program, command), lacking) {
        (None, _) => Ok(()),
        (Some(path), Lacking::Refuse) => Err(SessionError::Changeable { option, path }),
        (Some(path), Lacking::Warn) => {
            tracing::warn!(
                "{option}: the command may write to {}, and so decide by itself and run what it \
                 likes outside of the jail",
                path.display()
            );
            Ok(())
        }
    }
}

/// The first of the program's files, or of the folders that they are in, that the command may write
/// to.
fn changeable(program: &Program, command: Option<&Identity>) -> Option<PathBuf> {
    let files = program.files();
    let whole = files.iter().filter_map(|file| file.canonicalize().ok());
    let places: Vec<PathBuf> =
        whole.flat_map(|file| file.ancestors().map(Path::to_owned).collect::<Vec<_>>()).collect();
    let may_change =
        |place: &PathBuf| fs::metadata(place).is_ok_and(|metadata| may_write(&metadata, command));
    places.into_iter().find(may_change)
}

/// By owner and mode; access lists only ever give more than that to few.
fn may_write(metadata: &Metadata, command: Option<&Identity>) -> bool {
    // Root writes to everything.
    let Some(command) = command else { return true };
    // In a folder such as /tmp each has what is theirs.
    if metadata.is_dir() && metadata.mode() & STICKY != 0 {
        return metadata.uid() == command.uid();
    }
    let is_groups = command.gid() == metadata.gid() || command.groups().contains(&metadata.gid());
    metadata.uid() == command.uid()
        || (is_groups && metadata.mode() & GROUP != 0)
        || metadata.mode() & OTHERS != 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    #[test]
    fn what_is_the_users_or_everybodys_is_changeable() {
        let alice = Identity::fixture();
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("rule");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let set = |path: &Path, uid, gid, mode| {
            chown(path, Some(uid), Some(gid)).expect("this test needs root: cargo xtask test");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let program = Program::script(script.as_os_str()).unwrap();
        let line = format!("sh {} -x", script.display());
        let line = Program::lines(line.as_ref()).unwrap();
        for (folder_is, script_is, expected) in [
            ((0, 0, 0o755), (0, 0, 0o755), None),
            ((0, 0, 0o755), (0, 1234, 0o755), None),
            ((0, 0, 0o755), (0, 1234, 0o775), Some(&script)),
            ((0, 0, 0o755), (65_534, 0, 0o555), Some(&script)),
            ((0, 0, 0o755), (0, 0, 0o757), Some(&script)),
            ((0, 65_533, 0o775), (0, 0, 0o755), Some(&folder.path().to_owned())),
            ((0, 0, 0o1777), (0, 0, 0o755), None),
            ((0, 0, 0o777), (0, 0, 0o755), Some(&folder.path().to_owned())),
        ] {
            set(folder.path(), folder_is.0, folder_is.1, folder_is.2);
            set(&script, script_is.0, script_is.1, script_is.2);
            for program in [&program, &line] {
                let found = changeable(program, Some(&alice));
                assert_eq!(found.as_ref(), expected, "{folder_is:?} {script_is:?}");
            }
        }
    }

    #[test]
    fn root_may_change_what_it_likes_and_users_no_shell() {
        let program = Program::script("exit 0".as_ref()).unwrap();
        assert_eq!(changeable(&program, Some(&Identity::fixture())), None);
        assert!(changeable(&program, None).is_some());
    }
}
