//! Changes of the rule's file while the command runs. The kernel tells of them (`notices`); on Linux the
//! supervisor opens the file and hands it to the proxy, which reads it, on macOS the proxy does both.

#[cfg_attr(target_os = "linux", path = "rule_watch/inotify.rs")]
#[cfg_attr(target_os = "macos", path = "rule_watch/kqueue.rs")]
mod notices;

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use self::notices::Notices;
use super::{
    SessionError,
    rule_file::{is_stream, open, steps, writable},
};
use crate::{backend::user::Identity, cli::plan::Lacking};

/// Watches over one file, by whatever way its path leads there.
#[derive(Debug)]
pub(super) struct RuleWatch {
    path: PathBuf,
    identity: Option<Identity>,
    notices: Notices,
    /// What was handed over last.
    last: Option<Version>,
    /// What was said last about a file that can't be taken.
    complaint: Option<String>,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl RuleWatch {
    /// Watches over the rule's file, if changes of it may be taken up: not if the command, which has
    /// the rights of `identity` or root's, could write it, and so its own rule.
    ///
    /// # Errors
    ///
    /// When the command could, and the plan wants every guard.
    pub(super) fn start(
        path: &Path,
        identity: Option<&Identity>,
        lacking: Lacking,
    ) -> Result<Option<Self>, SessionError> {
        if is_stream(path) {
            return Ok(None);
        }
        let writable = steps(path).and_then(|steps| writable(&steps, identity));
        let watch = match writable {
            Ok(None) => Self::new(path, identity.cloned()),
            Ok(Some(what)) if lacking == Lacking::Refuse => {
                return Err(SessionError::RuleFile { path: path.to_owned(), what });
            }
            Ok(Some(what)) => {
                tracing::warn!(
                    "the command can write {}, so changes of the rule won't be taken up; keep it \
                     where the command's user can't write",
                    what.display()
                );
                return Ok(None);
            }
            Err(error) => Err(error),
        };
        match watch {
            Ok(watch) => Ok(Some(watch)),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%error, "changes of the rule file {path} won't be taken up");
                Ok(None)
            }
        }
    }

    /// Watches `path` from now on. It must be a file that no jailed program can write.
    ///
    /// # Errors
    ///
    /// When it can't be watched.
    fn new(path: &Path, identity: Option<Identity>) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let mut notices = Notices::new()?;
        notices.follow(&steps(&path)?)?;
        Ok(Self { path, identity, notices, last: None, complaint: None })
    }

    /// The file, if it may have changed since it was last asked for. The first time it may have.
    pub(super) fn changed(&mut self) -> Option<File> {
        let is_told = self.last.is_none() | self.notices.drain();
        is_told.then(|| self.look()).flatten()
    }

    /// Waits until the file may have changed.
    ///
    /// # Errors
    ///
    /// When nobody can be waited for.
    #[cfg(target_os = "macos")]
    pub(super) fn wait(&mut self) -> io::Result<()> {
        self.notices.wait()
    }

    /// Opens the file, if it is another one than the last time. Says once why it can't be taken.
    fn look(&mut self) -> Option<File> {
        let found = self.find();
        let complaint = found.as_ref().err().map(ToString::to_string);
        if let Some(complaint) = &complaint
            && self.complaint.as_ref() != Some(complaint)
        {
            let path = self.path.display();
            tracing::warn!("the rule stays as it is: {path} has changed, but {complaint}");
        }
        self.complaint = complaint;
        found.ok().flatten()
    }

    fn find(&mut self) -> io::Result<Option<File>> {
        let steps = steps(&self.path)?;
        self.notices.follow(&steps)?;
        if let Some(what) = writable(&steps, self.identity.as_ref())? {
            return Err(io::Error::other(format!("the command can write {}", what.display())));
        }
        // On macOS, the process that watches is nobody but the user who called.
        let reader = self.identity.as_ref().filter(|_| cfg!(target_os = "linux"));
        let file = open(&self.path, reader)?;
        let version = Version::of(&file)?;
        if self.last.replace(version) == Some(version) {
            return Ok(None);
        }
        Ok(Some(file))
    }
}

#[cfg(target_os = "linux")]
impl std::os::fd::AsFd for RuleWatch {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

impl Version {
    fn of(file: &File) -> io::Result<Self> {
        let about = file.metadata()?;
        let changed = (about.ctime(), about.ctime_nsec());
        Ok(Self { device: about.dev(), inode: about.ino(), size: about.size(), changed })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Read, Write},
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    /// A folder of root's, all the way up, in which `rule.js` says `1`.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir_in("/var").expect("this test needs root: cargo xtask test");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("rule.js"), "1").unwrap();
        dir
    }

    fn watch(path: &Path) -> RuleWatch {
        let mut watch = RuleWatch::new(path, Some(Identity::fixture())).unwrap();
        assert!(changed(&mut watch).is_some(), "what came before the watch counts");
        assert_eq!(changed(&mut watch), None);
        watch
    }

    fn changed(watch: &mut RuleWatch) -> Option<String> {
        let mut text = String::new();
        watch.changed()?.read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn tells_what_was_written_when_it_is_written_whole() {
        let dir = folder();
        let path = dir.path().join("rule.js");
        let mut watch = watch(&path);
        let mut file = File::create(&path).unwrap();
        file.write_all(b"2").unwrap();
        assert_eq!(changed(&mut watch), None);
        drop(file);
        assert_eq!(changed(&mut watch).as_deref(), Some("2"));
        assert_eq!(changed(&mut watch), None);
        fs::write(dir.path().join("other"), "3").unwrap();
        assert_eq!(changed(&mut watch), None);
    }

    #[test]
    fn tells_what_took_the_files_place() {
        let dir = folder();
        let at = |name: &str| dir.path().join(name);
        let mut watch = watch(&at("rule.js"));
        for text in ["2", "3"] {
            fs::write(at("new"), text).unwrap();
            fs::rename(at("new"), at("rule.js")).unwrap();
            assert_eq!(changed(&mut watch).as_deref(), Some(text));
        }
        // As some editors do.
        fs::rename(at("rule.js"), at("rule.js~")).unwrap();
        assert_eq!(changed(&mut watch), None);
        let mut file = File::create(at("rule.js")).unwrap();
        assert_eq!(changed(&mut watch), None);
        file.write_all(b"4").unwrap();
        drop(file);
        assert_eq!(changed(&mut watch).as_deref(), Some("4"));
        fs::remove_file(at("rule.js")).unwrap();
        fs::hard_link(at("rule.js~"), at("rule.js")).unwrap();
        assert_eq!(changed(&mut watch).as_deref(), Some("3"));
    }

    #[test]
    fn follows_links_and_folders_that_are_replaced() {
        let dir = folder();
        let at = |name: &str| dir.path().join(name);
        for version in ["v1", "v2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("rule.js"), version).unwrap();
        }
        symlink("v1", at("now")).unwrap();
        fs::remove_file(at("rule.js")).unwrap();
        symlink("now/rule.js", at("rule.js")).unwrap();
        let mut watch = watch(&at("rule.js"));
        symlink("v2", at("next")).unwrap();
        fs::rename(at("next"), at("now")).unwrap();
        assert_eq!(changed(&mut watch).as_deref(), Some("v2"));
        fs::write(at("v2/rule.js"), "v2 again").unwrap();
        assert_eq!(changed(&mut watch).as_deref(), Some("v2 again"));
        fs::write(at("v1/rule.js"), "not looked at").unwrap();
        assert_eq!(changed(&mut watch), None);
        fs::rename(at("v2"), at("v0")).unwrap();
        fs::rename(at("v1"), at("v2")).unwrap();
        assert_eq!(changed(&mut watch).as_deref(), Some("not looked at"));
    }

    #[test]
    fn takes_nothing_that_a_jailed_program_could_have_written() {
        let dir = folder();
        let path = dir.path().join("rule.js");
        let mut watch = watch(&path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        fs::write(&path, "2").unwrap();
        assert_eq!(changed(&mut watch), None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, "3").unwrap();
        assert_eq!(changed(&mut watch).as_deref(), Some("3"));
    }
}
