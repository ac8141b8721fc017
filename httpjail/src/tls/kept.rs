//! An authority that is kept from run to run, for programs that no run can tell of its own: those that
//! use a proxy which stands alone.
//!
//! Its key is in a file that its owner alone can read, from the first byte on.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};

use super::{Authority, AuthorityError, authority};
use crate::policy::Host;

/// The certificate, for everybody to trust.
const CERTIFICATE: &str = "ca-cert.pem";
/// The key.
const KEY: &str = "ca-key.pem";
/// More than either has.
const LARGEST: u64 = 64 * 1024;
/// Where a home folder has its user's configuration.
const CONFIG: &str =
    if cfg!(target_os = "macos") { "Library/Application Support" } else { ".config" };
/// A name to try the authority with.
const TRIED: &str = "httpjail.invalid";

/// The kept authority in its folder.
#[derive(Debug)]
pub struct Kept {
    authority: Authority,
    certificate: PathBuf,
}

/// Why there is no kept authority; completes "failed to ...".
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// A file or the folder can't be made or read.
    #[error("use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may read or replace it.
    #[error("trust {}: it isn't this user's alone", .0.display())]
    Exposed(PathBuf),
    /// The file is there and isn't what it should be.
    #[error("understand {}", path.display())]
    Broken {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// Key and certificate don't belong together, it has expired, or another program made it.
    #[error("use the authority in {}", path.display())]
    Unfit {
        /// The certificate.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The key is of no use.
    #[error("use the key {}", path.display())]
    Key {
        /// The key.
        path: PathBuf,
        /// Why.
        #[source]
        source: AuthorityError,
    },
    /// No authority can be made.
    #[error(transparent)]
    Make(AuthorityError),
}

impl KeptError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { .. } => Some(format!(
                "the folder is ~/{CONFIG}/httpjail, or below XDG_CONFIG_HOME; it must be yours to write"
            )),
            Self::Exposed(path) => Some(format!(
                "make it yours alone (chmod go= {0}); if others could read the key, remove both \
                 files, and a new authority is made",
                path.display()
            )),
            Self::Broken { .. } | Self::Unfit { .. } | Self::Key { .. } => Some(format!(
                "move {CERTIFICATE} and {KEY} out of the way, and a new authority is made; what \
                 trusts the old one must be told of it"
            )),
            Self::Make(_) => None,
        }
    }
}

/// Where a user's authority is kept, if they have it: by the variable `XDG_CONFIG_HOME`, and by the
/// home folder.
pub fn folder(xdg: Option<&Path>, home: &Path) -> PathBuf {
    let xdg = xdg.filter(|folder| folder.is_absolute()).map(Path::to_owned);
    xdg.unwrap_or_else(|| home.join(CONFIG)).join("httpjail")
}

impl Kept {
    /// Its certificate's common name.
    pub const NAME: &str = authority::KEPT_NAME;

    /// Reads the authority in `folder`, or makes it.
    ///
    /// # Errors
    ///
    /// When it can't be read, is exposed, or can't be made.
    pub fn open(folder: &Path) -> Result<Self, KeptError> {
        let _held = prepare(folder)?;
        let (key_path, path) = (folder.join(KEY), folder.join(CERTIFICATE));
        let key = match read(&key_path, Secrecy::Secret)? {
            Some(key) => key,
            None => create(&key_path, 0o600, authority::new_kept_key().map_err(KeptError::Make)?)?,
        };
        let unfit_key = |source| KeptError::Key { path: key_path.clone(), source };
        let pem = match read(&path, Secrecy::Public)? {
            Some(pem) => pem,
            None => create(&path, 0o644, authority::kept_certificate(&key).map_err(unfit_key)?)?,
        };
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|source| KeptError::Broken { path: path.clone(), source })?;
        let authority = Authority::kept(&key, certificate, pem).map_err(unfit_key)?;
        try_out(&authority).map_err(|source| KeptError::Unfit { path: path.clone(), source })?;
        Ok(Self { authority, certificate: path })
    }

    /// The file of its certificate.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The authority.
    pub fn into_authority(self) -> Authority {
        self.authority
    }

    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> String {
        self.authority.certificate_pem()
    }
}

/// Makes the folder, and keeps others from making an authority there while what is given back lives.
fn prepare(folder: &Path) -> Result<OwnedFd, KeptError> {
    let failed = |source: io::Error| KeptError::File { path: folder.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = rustix::fs::open(folder, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    rustix::fs::flock(&held, FlockOperation::LockExclusive).map_err(|e| failed(e.into()))?;
    let found = fs::metadata(folder).map_err(failed)?;
    if !is_own(&found) || found.mode() & 0o022 != 0 {
        return Err(KeptError::Exposed(folder.to_owned()));
    }
    Ok(held)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Public,
    Secret,
}

/// A file of this user's that others can't replace, nor read if it is secret. `None`: there is none.
fn read(path: &Path, secrecy: Secrecy) -> Result<Option<String>, KeptError> {
    let failed = |source| KeptError::File { path: path.to_owned(), source };
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let found = file.metadata().map_err(failed)?;
    let others = match secrecy {
        Secrecy::Public => 0o022,
        Secrecy::Secret => 0o077,
    };
    if !found.is_file() || !is_own(&found) || found.mode() & others != 0 {
        return Err(KeptError::Exposed(path.to_owned()));
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

fn is_own(found: &fs::Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw()
}

/// Makes a file that wasn't there, with no more rights than these at any time.
fn create(path: &Path, mode: u32, text: String) -> Result<String, KeptError> {
    let write = || {
        let mut file: File =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(text),
        Err(source) => Err(KeptError::File { path: path.to_owned(), source }),
    }
}

/// Whether who trusts the certificate trusts a leaf, too.
fn try_out(authority: &Authority) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate_der())?;
    let provider = Arc::clone(authority.provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
    let host = Host::parse(TRIED).expect("a legal name");
    let leaf = authority.mint(&host).map_err(|error| rustls::Error::General(error.to_string()))?;
    let name = ServerName::try_from(TRIED).expect("a legal name");
    let [leaf, ..] = &leaf.cert[..] else { return Err(rustls::Error::NoCertificatesPresented) };
    verifier.verify_server_cert(leaf, &[], &name, &[], UnixTime::now()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("config/httpjail");
        (parent, folder)
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn it_is_made_once_and_its_key_is_its_owners_alone() {
        let (_parent, folder) = place();
        let first = Kept::open(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join(KEY)), 0o600);
        assert_eq!(first.certificate(), folder.join(CERTIFICATE));
        let second = Kept::open(&folder).unwrap();
        assert_eq!(first.certificate_pem(), second.certificate_pem());
        assert!(!first.certificate_pem().contains("PRIVATE"));
    }

    #[test]
    fn a_certificate_that_is_missing_is_made_for_the_key() {
        let (_parent, folder) = place();
        Kept::open(&folder).unwrap();
        let key = fs::read(folder.join(KEY)).unwrap();
        fs::remove_file(folder.join(CERTIFICATE)).unwrap();
        Kept::open(&folder).unwrap();
        assert_eq!(fs::read(folder.join(KEY)).unwrap(), key);
    }

    #[test]
    fn each_has_a_serial_number_of_its_own() {
        let (_parent, one) = place();
        let (_other_parent, other) = place();
        let certificate = |folder: &Path| Kept::open(folder).unwrap().authority.certificate_der();
        // Two sequence heads of four bytes, the version, then the serial number.
        let serial = |folder: &Path| certificate(folder)[13..31].to_vec();
        assert_eq!(serial(&one)[..2], [0x02, 16]);
        assert_ne!(serial(&one), serial(&other));
    }

    #[test]
    fn what_others_could_read_or_replace_is_refused() {
        let (_parent, folder) = place();
        Kept::open(&folder).unwrap();
        for (file, exposed, fit) in [
            (KEY, 0o640, 0o600),
            (KEY, 0o604, 0o600),
            (CERTIFICATE, 0o666, 0o644),
            ("", 0o770, 0o700),
        ] {
            let path = folder.join(file);
            set_mode(&path, exposed);
            let error = Kept::open(&folder).unwrap_err();
            assert!(matches!(error, KeptError::Exposed(_)), "{file}: {error}");
            set_mode(&path, fit);
        }
        Kept::open(&folder).unwrap();
        let elsewhere = folder.join("elsewhere");
        fs::rename(folder.join(KEY), &elsewhere).unwrap();
        symlink(&elsewhere, folder.join(KEY)).unwrap();
        assert!(matches!(Kept::open(&folder).unwrap_err(), KeptError::File { .. }));
    }

    #[test]
    fn what_does_not_belong_together_is_refused_and_left_alone() {
        let (_parent, folder) = place();
        let (_other_parent, other) = place();
        Kept::open(&folder).unwrap();
        Kept::open(&other).unwrap();
        let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
        let own = fs::read(&certificate).unwrap();
        fs::copy(other.join(CERTIFICATE), &certificate).unwrap();
        let error = Kept::open(&folder).unwrap_err();
        assert!(matches!(error, KeptError::Unfit { .. }), "{error:?}");
        fs::write(&certificate, "nothing").unwrap();
        assert!(matches!(Kept::open(&folder).unwrap_err(), KeptError::Broken { .. }));
        fs::write(&certificate, own).unwrap();
        fs::write(&key, "nothing").unwrap();
        let error = Kept::open(&folder).unwrap_err();
        assert!(matches!(error, KeptError::Key { .. }), "{error:?}");
        assert_eq!(fs::read(&key).unwrap(), b"nothing");
    }

    #[test]
    fn the_folder_is_the_users_configuration() {
        let home = Path::new("/home/a");
        assert_eq!(folder(None, home), home.join(CONFIG).join("httpjail"));
        assert_eq!(folder(Some(Path::new("/x")), home), Path::new("/x/httpjail"));
        assert_eq!(folder(Some(Path::new("x")), home), home.join(CONFIG).join("httpjail"));
    }
}
