//! Makes the jailed programs trust this run's CA, each in the way that it offers, without a
//! change to the system's trust.
//!
//! Every TLS connection of the jail ends at the proxy, so the run's CA is all that a program has
//! to trust. The bundle holds the system's roots as well, for programs that check certificates
//! which came another way (a signed file, a chain read from disk).

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustls_pki_types::{CertificateDer, pem::PemObject};
use tracing::{debug, warn};

use super::java;

mod stores;

pub(super) use stores::Stores;

/// Where systems keep their roots in one file; the first that is there counts.
pub(crate) const SYSTEM_BUNDLES: [&str; 5] = [
    // Debian, Ubuntu, Arch, Gentoo, Alpine with ca-certificates.
    "/etc/ssl/certs/ca-certificates.crt",
    // Fedora, RHEL and their kin.
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    // SUSE.
    "/etc/ssl/ca-bundle.pem",
    // Alpine without ca-certificates.
    "/etc/ssl/cert.pem",
];

/// Variables that name the file of *all* roots a program trusts: they get the bundle.
const BUNDLE_VARIABLES: [&str; 14] = [
    // OpenSSL's default file (X509_get_default_cert_file(3)), and so Python's ssl, Ruby, Perl
    // and PHP; Go's crypto/x509 ("On Unix systems other than macOS the environment variables
    // SSL_CERT_FILE and SSL_CERT_DIR can be used"); rustls-native-certs; uv.
    "SSL_CERT_FILE",
    // curl(1), ENVIRONMENT: the same for builds without OpenSSL.
    "CURL_CA_BUNDLE",
    // git-config(1), http.sslCAInfo.
    "GIT_SSL_CAINFO",
    // Requests, "SSL Cert Verification": it brings roots of its own (certifi) otherwise.
    "REQUESTS_CA_BUNDLE",
    // pip, "Configuration": any long option (--cert) as PIP_ and its name. pip carries certifi.
    "PIP_CERT",
    // The Cargo book, "Environment Variables": http.cainfo.
    "CARGO_HTTP_CAINFO",
    // AWS CLI user guide, "Environment variables"; botocore carries roots of its own.
    "AWS_CA_BUNDLE",
    // gcloud topic configurations: core/custom_ca_certs_file.
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    // npm config, cafile: replaces Node's roots for npm; lower case is how npm spells it.
    "npm_config_cafile",
    // Yarn, "httpsCaFilePath": settings as YARN_ and their name. (Yarn 1 reads npm's.)
    "YARN_HTTPS_CA_FILE_PATH",
    // gRPC core, "Environment Variables": gRPC links roots of its own.
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    // httplib2 brings roots of its own as well; gsutil and other Google tools are built on it.
    "HTTPLIB2_CA_CERTS",
    // Nix: nixpkgs' OpenSSL and curl prefer it to SSL_CERT_FILE.
    "NIX_SSL_CERT_FILE",
    // Hex, "mix hex.config": Erlang's ssl reads no variable itself.
    "HEX_CACERTS_PATH",
];

/// Variables that name roots *in addition* to those a program has: they get the CA alone.
const AUTHORITY_VARIABLES: [&str; 2] = [
    // Node.js, "CLI": extends the roots compiled in. Bun reads it as well (Bun, "TLS").
    "NODE_EXTRA_CA_CERTS",
    // Deno, "Environment variables": "Load certificate authorities from PEM encoded file".
    "DENO_CERT",
];

/// GNU wget (wget(1), wgetrc) with GnuTLS reads no variable with roots. It reads the name of its
/// system-wide settings from this one, and the user's own file after it.
const WGET_VARIABLE: &str = "SYSTEM_WGETRC";
const WGET_SETTINGS: &str = "/etc/wgetrc";

/// Options for every Java that starts ("JVM Tool Interface", JAVA_TOOL_OPTIONS). Java reads no
/// PEM file, and says on stderr that it picked these up; so it is only set where Java is.
const JAVA_VARIABLE: &str = "JAVA_TOOL_OPTIONS";

const BUNDLE: &str = "ca-bundle.pem";
const AUTHORITY: &str = "ca.pem";
const TRUST_STORE: &str = "truststore.jks";
const WGETRC: &str = "wgetrc";

/// What a certificate looks like in a file (RFC 7468).
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Most that is read of a file that the caller names: some thousand certificates.
const LARGEST_EXTRA: u64 = 4 << 20;

/// The files and variables by which jailed programs trust this run's CA.
#[derive(Debug)]
pub struct ChildTrust {
    variables: Vec<(OsString, OsString)>,
    stores: Stores,
    files: Files,
}

/// What is still empty, and what goes into the bundle besides the CA.
#[derive(Debug)]
struct Files {
    bundle: Draft,
    extra: Vec<u8>,
    system: Vec<u8>,
    authority: Draft,
    hashed: Option<Draft>,
    java: Option<Draft>,
}

/// A trust that could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The CA's certificate can't be read back.
    #[error("read the certificate of this run's CA")]
    Authority(#[source] rustls_pki_types::pem::Error),
    /// A file can't be written.
    #[error("write {path:?}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ChildTrust {
    /// Makes the files in `directory`, which the command must be able to reach and which goes with
    /// the run. They stay empty until [`ChildTrust::fill`]: the CA needn't be there yet, so that
    /// its making and all that needs the files' places can go on at the same time. `caller` looks
    /// variables of the caller's environment up.
    ///
    /// # Errors
    ///
    /// When a file can't be made. Roots that can't be read are left out with a warning.
    pub fn prepare(
        directory: &Path,
        caller: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, TrustError> {
        let (extra, system) = roots(caller("NODE_EXTRA_CA_CERTS").as_deref());
        let bundle = Draft::new(directory, BUNDLE)?;
        let authority = Draft::new(directory, AUTHORITY)?;
        let mut variables = Vec::with_capacity(BUNDLE_VARIABLES.len() + 4);
        variables.extend(BUNDLE_VARIABLES.map(|name| (name.into(), bundle.path.clone().into())));
        variables
            .extend(AUTHORITY_VARIABLES.map(|name| (name.into(), authority.path.clone().into())));
        let path = caller("PATH").unwrap_or_default();
        if has_program(&path, "wget") {
            variables.push((WGET_VARIABLE.into(), write_wgetrc(directory, &bundle.path)?.into()));
        }
        let has_java = caller("JAVA_HOME").is_some() || has_program(&path, "java");
        let java = has_java.then(|| Draft::new(directory, TRUST_STORE)).transpose()?;
        if let Some(store) = &java {
            let options = java_options(caller(JAVA_VARIABLE), &store.path);
            variables.push((JAVA_VARIABLE.into(), options));
        }
        let java_path = java.as_ref().map(|store| store.path.as_path());
        let (stores, hashed) = Stores::prepare(directory, &bundle.path, java_path)?;
        let files = Files { bundle, extra, system, authority, hashed, java };
        Ok(Self { variables, stores, files })
    }

    /// Writes the files. `authority` is the certificate of the run's CA as PEM. To be called
    /// before the command runs.
    ///
    /// # Errors
    ///
    /// When a file can't be written.
    pub fn fill(self, authority: &str) -> Result<(), TrustError> {
        let Files { bundle, extra, system, authority: alone, hashed, java } = self.files;
        // The run's CA comes first: a reader that gives up at some odd root has it by then.
        bundle.write(&[authority.as_bytes(), b"\n", &extra, &system])?;
        alone.write(&[authority.as_bytes()])?;
        if let Some(hashed) = hashed {
            hashed.write(&[authority.as_bytes()])?;
        }
        let Some(java) = java else { return Ok(()) };
        let certificate =
            CertificateDer::from_pem_slice(authority.as_bytes()).map_err(TrustError::Authority)?;
        java.write(&[&java::trust_store("httpjail", &certificate, SystemTime::now())])
    }

    /// What the command must see where the system keeps its roots.
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// The variables to set in the command's environment, over those of the same name.
    pub fn variables(&self) -> &[(OsString, OsString)] {
        &self.variables
    }
}

/// What the bundle holds besides the run's CA: certificates that the caller's environment names,
/// and the system's roots.
fn roots(extra: Option<&OsStr>) -> (Vec<u8>, Vec<u8>) {
    let system = SYSTEM_BUNDLES.iter().find_map(|path| Some((path, fs::read(path).ok()?)));
    if system.is_none() {
        warn!("there is no file of system roots; jailed programs trust this run's CA alone");
    }
    let new = |extra: &&OsStr| system.as_ref().is_none_or(|(path, _)| !is_same_file(path, extra));
    let extra = extra.filter(new).map(extra_certificates).unwrap_or_default();
    (extra, system.map(|(_, roots)| roots).unwrap_or_default())
}

fn is_same_file(one: &str, other: &OsStr) -> bool {
    let identity = |file: fs::Metadata| (file.dev(), file.ino());
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => identity(one) == identity(other),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// The certificates in a file that the caller's environment names.
///
/// httpjail may read more than the caller may, and the bundle is for everybody to read: nothing
/// but certificates is taken, and nothing that isn't a plain file is read.
fn extra_certificates(path: &OsStr) -> Vec<u8> {
    match read_bounded(Path::new(path)) {
        Ok(text) => certificates(&text).fold(Vec::new(), |mut all, certificate| {
            all.extend_from_slice(certificate.as_bytes());
            all.push(b'\n');
            all
        }),
        Err(error) => {
            debug!(?path, %error, "the caller's NODE_EXTRA_CA_CERTS can't be read");
            Vec::new()
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    // Opening a pipe that nobody writes to must not wait.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_EXTRA).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The PEM certificates in a text, without what is between them.
fn certificates(text: &str) -> impl Iterator<Item = &str> {
    let is_base64 = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'\r' | b'\n')
    };
    text.match_indices(BEGIN).filter_map(move |(start, _)| {
        let section = text.get(start..)?;
        // The alphabet has no hyphen, so the first one must begin the end.
        let end = BEGIN.len() + section.get(BEGIN.len()..)?.find('-')?;
        let whole = section.get(..end + END.len())?;
        let body = section.get(BEGIN.len()..end)?;
        (whole.ends_with(END) && body.bytes().all(is_base64)).then_some(whole)
    })
}

/// The system-wide settings of wget, if everybody may read them, and the bundle.
fn write_wgetrc(directory: &Path, bundle: &Path) -> Result<PathBuf, TrustError> {
    let public = fs::metadata(WGET_SETTINGS).is_ok_and(|file| file.mode() & 0o004 != 0);
    let settings = if public { fs::read(WGET_SETTINGS).unwrap_or_default() } else { Vec::new() };
    let ours = [b"\nca_certificate = ", bundle.as_os_str().as_encoded_bytes(), b"\n"].concat();
    let file = Draft::new(directory, WGETRC)?;
    let path = file.path.clone();
    file.write(&[&settings, &ours])?;
    Ok(path)
}

/// The caller's options, then ours: of two definitions of a property the later one counts.
fn java_options(callers: Option<OsString>, store: &Path) -> OsString {
    let mut options = callers.unwrap_or_default();
    if !options.is_empty() {
        options.push(" ");
    }
    options.push("-Djavax.net.ssl.trustStoreType=JKS -Djavax.net.ssl.trustStorePassword=");
    options.push(java::PASSWORD);
    // The virtual machine splits at blanks, save between quotes.
    options.push(" \"-Djavax.net.ssl.trustStore=");
    options.push(store);
    options.push("\"");
    options
}

/// Whether a directory of `path` holds such a program.
fn has_program(path: &OsStr, name: &str) -> bool {
    std::env::split_paths(path).any(|directory| {
        let file = fs::metadata(directory.join(name));
        file.is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0)
    })
}

/// A file that everybody may read, and that is still empty.
#[derive(Debug)]
struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    /// Makes the file, whatever the umask.
    fn new(directory: &Path, name: &str) -> Result<Self, TrustError> {
        let path = directory.join(name);
        let create = || {
            let file = create_new(&path)?;
            file.set_permissions(Permissions::from_mode(0o644))?;
            Ok(file)
        };
        match create() {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(TrustError::Write { path, source }),
        }
    }

    fn write(mut self, parts: &[&[u8]]) -> Result<(), TrustError> {
        for part in parts {
            if let Err(source) = self.file.write_all(part) {
                return Err(TrustError::Write { path: self.path, source });
            }
        }
        Ok(())
    }
}

/// Whatever the umask.
fn open_to_all(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

/// Never opens what is already there, be it a link to elsewhere.
fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)
}

#[cfg(test)]
mod tests;
