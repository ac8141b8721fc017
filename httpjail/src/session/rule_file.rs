//! The file of the rule: where its path leads, who can change that, and what comes of a change.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
};

use crate::backend::user::{Identity, as_user};

/// More links than this are a circle (the kernel's own limit).
const MOST_LINKS: usize = 40;
/// The bits of a mode by which others may write.
pub(super) const GROUP: u32 = 0o020;
pub(super) const OTHERS: u32 = 0o002;
/// In such a folder, only owners may rename and remove.
pub(super) const STICKY: u32 = 0o1000;

/// An entry of a folder on the way to the file; whoever changes it changes what is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The folder, by a path without links.
    pub(super) folder: PathBuf,
    /// The entry's name.
    pub(super) name: OsString,
}

impl Step {
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

/// All entries on the way to `path`, links that lie on it and what they lead to included; the last
/// one is the file itself.
///
/// # Errors
///
/// When something on the way isn't there, or the way is a circle.
pub(super) fn steps(path: &Path) -> io::Result<Vec<Step>> {
    let path = std::path::absolute(path)?;
    let mut ahead = components(&path);
    let (mut here, mut steps, mut links) = (PathBuf::from("/"), Vec::new(), 0);
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let step = Step { folder: here.clone(), name };
        let entry = step.path();
        steps.push(step);
        if !fs::symlink_metadata(&entry)?.is_symlink() {
            here = entry;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = fs::read_link(&entry)?;
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        let mut first = components(&target);
        first.append(&mut ahead);
        ahead = first;
    }
    Ok(steps)
}

fn components(path: &Path) -> VecDeque<OsString> {
    let named = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    };
    path.components().filter_map(named).collect()
}

/// What a jailed program could write to change the rule, if it could: the file, or a folder on the
/// way to it. `None` as identity is root.
///
/// # Errors
///
/// When something on the way can't be looked at.
pub(super) fn writable(steps: &[Step], identity: Option<&Identity>) -> io::Result<Option<PathBuf>> {
    let Some(last) = steps.last() else { return Ok(None) };
    let Some(identity) = identity else { return Ok(Some(last.path())) };
    for step in steps {
        let folder = fs::metadata(&step.folder)?;
        let entry = fs::symlink_metadata(step.path())?;
        let is_kept =
            folder.mode() & STICKY != 0 && ![folder.uid(), entry.uid()].contains(&identity.uid());
        if may_write(&step.folder, &folder, identity) && !is_kept {
            return Ok(Some(step.folder.clone()));
        }
    }
    let file = last.path();
    let is_own = may_write(&file, &fs::metadata(&file)?, identity);
    Ok(is_own.then_some(file))
}

/// Whether a user may write, or may give themselves the right to.
fn may_write(path: &Path, about: &Metadata, identity: &Identity) -> bool {
    let mode = about.mode();
    let is_member = about.gid() == identity.gid() || identity.groups().contains(&about.gid());
    about.uid() == identity.uid()
        || mode & OTHERS != 0
        || (mode & GROUP != 0 && is_member)
        // On Linux, the group's bits are the most that any user of a list has.
        || ((mode & GROUP != 0 || cfg!(target_os = "macos")) && has_list(path))
}

/// Whether rights are given to certain users (POSIX ACLs). What can't be told counts as a list.
#[cfg(target_os = "linux")]
fn has_list(path: &Path) -> bool {
    let asked = rustix::fs::getxattr(path, "system.posix_acl_access", &mut [0; 0][..]);
    !matches!(asked, Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP))
}

/// Whether a list gives more rights than the mode does: there, the mode is no bound to it.
#[cfg(target_os = "macos")]
fn has_list(path: &Path) -> bool {
    crate::backend::macos::acl::gives_rights(path)
}

/// Opens the file as the user who called; as root only if the user may not read it. The caller has
/// made sure that no jailed program leads it elsewhere.
///
/// # Errors
///
/// When it can't be opened, or isn't a plain file.
pub(super) fn open(path: &Path, identity: Option<&Identity>) -> io::Result<File> {
    // Whatever it is by now, opening must not wait.
    let open = || File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = match as_user(identity, open) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open()?,
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    Ok(file)
}

/// Whether `path` is something that is read once and gone: a pipe, a terminal.
pub(super) fn is_stream(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| {
        let kind = about.file_type();
        kind.is_fifo() || kind.is_char_device() || kind.is_socket()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn nobody() -> Identity {
        Identity::fixture()
    }

    /// A folder of root's, all the way up.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir_in("/var").expect("this test needs root: cargo xtask test");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        dir
    }

    fn names(steps: &[Step]) -> Vec<String> {
        steps.iter().map(|step| step.path().display().to_string()).collect()
    }

    fn told(path: &Path) -> Option<PathBuf> {
        writable(&steps(path).unwrap(), Some(&nobody())).unwrap()
    }

    #[test]
    fn the_way_goes_over_every_folder_and_link() {
        let dir = folder();
        let at = dir.path();
        fs::create_dir(at.join("v1")).unwrap();
        fs::write(at.join("v1/rule.js"), "").unwrap();
        symlink("v1", at.join("now")).unwrap();
        symlink("now/../now/rule.js", at.join("rule.js")).unwrap();
        let way = names(&steps(&at.join("./v1/../rule.js")).unwrap());
        let base = at.display();
        let own = ["v1", "rule.js", "now", "v1", "now", "v1", "v1/rule.js"];
        let own = own.map(|name| format!("{base}/{name}"));
        assert_eq!(way, [vec!["/var".to_owned(), base.to_string()], own.to_vec()].concat());
        symlink("circle", at.join("circle")).unwrap();
        assert_eq!(steps(&at.join("circle")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        steps(&at.join("missing")).unwrap_err();
    }

    #[test]
    fn tells_what_a_user_could_write() {
        let dir = folder();
        let (at, inner) = (dir.path(), dir.path().join("inner"));
        let (file, link) = (inner.join("rule.js"), at.join("link"));
        fs::create_dir(&inner).unwrap();
        fs::write(&file, "").unwrap();
        symlink("inner/rule.js", &link).unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for path in [&file, &link] {
            assert_eq!(told(path), None);
            for (what, mode, usual) in
                [(&file, 0o646, 0o644), (&inner, 0o757, 0o755), (&at.to_owned(), 0o757, 0o755)]
            {
                set(what, mode);
                assert_eq!(told(path).as_ref(), Some(what), "{path:?} {mode:o}");
                set(what, usual);
            }
            // Group 0 is not theirs, a group of theirs is.
            set(&file, 0o664);
            assert_eq!(told(path), None);
            chown(&file, None, Some(65533)).unwrap();
            assert_eq!(told(path).as_ref(), Some(&file));
            chown(&file, None, Some(0)).unwrap();
            set(&file, 0o644);
            // An owner can give themselves the right.
            chown(&inner, Some(65534), None).unwrap();
            assert_eq!(told(path).as_ref(), Some(&inner));
            chown(&inner, Some(0), None).unwrap();
        }
        // In a folder like /tmp, what is others' stays.
        set(at, 0o1777);
        assert_eq!(told(&file), None);
        chown(&inner, Some(65534), None).unwrap();
        assert_eq!(told(&file), Some(at.to_owned()));
        assert_eq!(writable(&steps(&file).unwrap(), None).unwrap(), Some(file));
    }

    #[test]
    fn opens_plain_files_alone_and_waits_for_nobody() {
        let dir = folder();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        open(&pipe, None).unwrap_err();
        assert!(is_stream(&pipe) && !is_stream(dir.path()));
        open(dir.path(), None).unwrap_err();
        let file = dir.path().join("rule.js");
        fs::write(&file, "true").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        open(&file, Some(&nobody())).unwrap();
    }
}
