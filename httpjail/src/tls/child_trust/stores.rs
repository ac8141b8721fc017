//! The system's own stores, as the jail sees them: programs that read no variable, or run with an
//! empty environment, look there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use super::{Draft, SYSTEM_BUNDLES, TrustError};

/// The hash of the authority's subject, by which OpenSSL names certificates in a folder
/// (X509_NAME_hash(3)). The subject is the same in every run.
const HASHED_NAME: &str = "ba1979dd.0";
/// A folder of the run with nothing but the authority under that name.
const FOLDER: &str = "hashed";
/// Folders in which OpenSSL, or whoever reads all files of a folder, looks for roots.
const HASHED_FOLDERS: [&str; 3] = [
    // Debian and its kin, Alpine, Arch; on others a link to one of their own.
    "/etc/ssl/certs",
    // Fedora.
    "/etc/pki/ca-trust/extracted/pem/directory-hash",
    // SUSE.
    "/var/lib/ca-certificates/openssl",
];
/// Where distributions keep the trust of every Java.
const JAVA_STORES: [&str; 3] = [
    "/etc/ssl/certs/java/cacerts",
    "/etc/pki/ca-trust/extracted/java/cacerts",
    "/var/lib/ca-certificates/java-cacerts",
];

/// What takes the place of the system's stores, in the jail alone. Pairs of what is the run's and
/// where it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stores {
    /// Folders whose files appear beside those that are there.
    pub folders: Vec<(PathBuf, PathBuf)>,
    /// Files that stand in for those that are there. They go in after the folders.
    pub files: Vec<(PathBuf, PathBuf)>,
}

impl Stores {
    /// Finds the system's stores, and makes what the run's `directory` lacks: the folder with a file
    /// for the authority, if there is a place for it.
    ///
    /// # Errors
    ///
    /// When a file can't be made.
    pub(super) fn prepare(
        directory: &Path,
        bundle: &Path,
        java: Option<&Path>,
    ) -> Result<(Self, Option<Draft>), TrustError> {
        let hashed = found(&HASHED_FOLDERS, Path::is_dir);
        let mut folders = Vec::new();
        let mut draft = None;
        if !hashed.is_empty() {
            let folder = directory.join(FOLDER);
            let failed = |source| TrustError::Write { path: folder.clone(), source };
            fs::create_dir(&folder).map_err(failed)?;
            super::open_to_all(&folder).map_err(failed)?;
            draft = Some(Draft::new(&folder, HASHED_NAME)?);
            folders.extend(hashed.into_iter().map(|place| (folder.clone(), place)));
        }
        let bundles = found(&SYSTEM_BUNDLES, Path::is_file).into_iter();
        let stores = java.map(|store| (store, found(&JAVA_STORES, Path::is_file)));
        let files = bundles
            .map(|place| (bundle.to_owned(), place))
            .chain(stores.into_iter().flat_map(|(store, places)| {
                places.into_iter().map(|place| (store.to_owned(), place))
            }))
            .collect();
        Ok((Self { folders, files }, draft))
    }
}

/// Those of `paths` that are there, links followed, each once.
fn found(paths: &[&str], is_right: impl Fn(&Path) -> bool) -> BTreeSet<PathBuf> {
    let there = paths.iter().filter_map(|path| fs::canonicalize(path).ok());
    there.filter(|path| is_right(path)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_place_with_two_names_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        fs::write(&one, "").unwrap();
        symlink(&one, &two).unwrap();
        let names = [one.to_str().unwrap(), two.to_str().unwrap(), "/nowhere/at/all"];
        assert_eq!(found(&names, Path::is_file).len(), 1);
        assert_eq!(found(&names, Path::is_dir).len(), 0);
    }

    #[test]
    fn the_run_holds_what_goes_elsewhere() {
        let run = tempfile::tempdir().unwrap();
        let bundle = run.path().join("bundle");
        fs::write(&bundle, "").unwrap();
        let (stores, draft) = Stores::prepare(run.path(), &bundle, None).unwrap();
        if let Some(draft) = draft {
            draft.write(&[b"the authority"]).unwrap();
        }
        for (folder, place) in &stores.folders {
            assert!(place.is_dir(), "{place:?}");
            let hashed = fs::read_to_string(folder.join(HASHED_NAME)).unwrap();
            assert_eq!(hashed, "the authority");
        }
        assert!(stores.files.iter().all(|(file, place)| *file == bundle && place.is_file()));
    }
}
