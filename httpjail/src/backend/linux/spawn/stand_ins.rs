//! Files and folders of the run that the jail sees in other places.
//!
//! [`StandIns::plan`] is the parent's part; the rest doesn't allocate, lock or panic.

use std::{
    ffi::{CStr, CString},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{
    error::{Failure, Step},
    mounts::{make_read_only, mount_with},
};

/// Mounts to make in the jail's own mount namespace.
#[derive(Debug, Default)]
pub(super) struct StandIns {
    /// Options of an overlay, and where it goes.
    folders: Vec<(CString, CString)>,
    /// A file, and what it covers.
    files: Vec<(CString, CString)>,
}

impl StandIns {
    /// `folders` appear in others, beside what is there; `files` cover others.
    pub(super) fn plan(folders: &[(PathBuf, PathBuf)], files: &[(PathBuf, PathBuf)]) -> Self {
        let c_pair = |(from, to): (Vec<u8>, &PathBuf)| {
            Some((CString::new(from).ok()?, CString::new(to.as_os_str().as_bytes()).ok()?))
        };
        let layers = folders.iter().filter_map(|(from, to)| Some((layers(from, to)?, to)));
        let bytes = files.iter().map(|(from, to)| (from.as_os_str().as_bytes().to_vec(), to));
        Self {
            folders: layers.filter_map(c_pair).collect(),
            files: bytes.filter_map(c_pair).collect(),
        }
    }

    /// Makes the mounts. Async-signal-safe.
    ///
    /// A kernel without overlays leaves the folders as they are: programs that look there alone
    /// then don't trust the run's authority, and their connections fail.
    pub(super) fn make(&self) -> Result<(), Failure> {
        for (options, place) in &self.folders {
            // Whatever the reason, nothing is less safe without it.
            let _ = mount_with(Some(OVERLAY), place, Some(OVERLAY), READ_ONLY, Some(options));
        }
        for (file, place) in &self.files {
            let bound = mount_with(Some(file), place, None, libc::MS_BIND, None);
            match bound.and_then(|()| make_read_only(place, 0)) {
                // Gone since it was found.
                Ok(()) | Err(Failure { errno: libc::ENOENT, .. }) => {}
                Err(failure) => return Err(Failure { step: Step::Mount, ..failure }),
            }
        }
        Ok(())
    }
}

const OVERLAY: &CStr = c"overlay";
const READ_ONLY: libc::c_ulong = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV;

/// The options of a read-only overlay (overlayfs, "Multiple lower layers"), which reads colons,
/// commas and backslashes as its own.
fn layers(upper: &Path, lower: &Path) -> Option<Vec<u8>> {
    let (upper, lower) = (upper.as_os_str().as_bytes(), lower.as_os_str().as_bytes());
    let special = |byte: &u8| matches!(byte, b':' | b',' | b'\\');
    if upper.iter().chain(lower).any(special) {
        return None;
    }
    Some([b"lowerdir=", upper, b":", lower].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_an_overlay_would_misread_is_left_out() {
        let pair = |from: &str, to: &str| (PathBuf::from(from), PathBuf::from(to));
        let folders = [pair("/run/a", "/etc/ssl/certs"), pair("/run/a", "/odd:place")];
        let planned = StandIns::plan(&folders, &[pair("/run/b", "/etc/bundle")]);
        let text = |(one, two): &(CString, CString)| {
            (one.to_str().unwrap().to_owned(), two.to_str().unwrap().to_owned())
        };
        let overlay = ("lowerdir=/run/a:/etc/ssl/certs".to_owned(), "/etc/ssl/certs".to_owned());
        assert_eq!(planned.folders.iter().map(text).collect::<Vec<_>>(), [overlay]);
        let file = ("/run/b".to_owned(), "/etc/bundle".to_owned());
        assert_eq!(planned.files.iter().map(text).collect::<Vec<_>>(), [file]);
    }
}
