//! From the plan's choices about the way out to the dialler's: reads the files that they name, while
//! there are the rights to.

use std::{io, os::unix::fs::MetadataExt, path::Path};

use rustls_pki_types::CertificateDer;

use super::{SessionError, pem_file};
use crate::{
    backend::user::Identity,
    cli::plan::{ClientCert, PrivateRange, UpstreamPlan},
    upstream::{ClientIdentity, Options, PrivateAccess, Trust},
};

/// Turns the plan's choices into the dialler's, and warns of keys that `jailed`, whom the command
/// runs as, can read by itself.
///
/// # Errors
///
/// When a file can't be read, or isn't what it should be.
pub(super) fn options(
    plan: &UpstreamPlan,
    jailed: Option<&Identity>,
) -> Result<Options, SessionError> {
    let mut extra_ca = Vec::new();
    for path in &plan.extra_ca {
        extra_ca.extend(authorities(path)?);
    }
    let identities = plan.client_certs.iter().map(identity).collect::<Result<_, _>>()?;
    for given in &plan.client_certs {
        tell_of_readable_key(&given.key, jailed);
    }
    for (scheme, proxy) in [("http", &plan.proxies.http), ("https", &plan.proxies.https)] {
        if let Some(proxy) = proxy {
            tracing::info!("allowed requests by {scheme} go through the proxy {proxy}");
        }
    }
    Ok(Options {
        identities,
        resolve: plan.resolve.iter().map(|entry| (entry.name.clone(), entry.address)).collect(),
        extra_ca,
        allow_private: private_access(&plan.allow_private),
        proxies: plan.proxies.clone(),
        ..Options::default()
    })
}

/// All certificates in a file of `--upstream-ca`; there is at least one, and each can be trusted.
fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, SessionError> {
    let failed = |source| SessionError::UpstreamCa { path: path.to_owned(), source };
    let found = pem_file::certificates(path).map_err(failed)?;
    let unusable = |source| SessionError::UnusableCa { path: path.to_owned(), source };
    Trust::new(&found).map_err(unusable)?;
    Ok(found)
}

fn identity(given: &ClientCert) -> Result<ClientIdentity, SessionError> {
    let ClientCert { hosts, certificate, key } = given;
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| SessionError::ClientCert { path, source }
    };
    let chain = pem_file::certificates(certificate).map_err(failed(certificate))?;
    let secret = pem_file::key(key).map_err(failed(key))?;
    ClientIdentity::new(hosts.clone(), chain, &secret).map_err(|source| SessionError::ClientPair {
        certificate: certificate.clone(),
        key: key.clone(),
        source,
    })
}

/// The proxy uses the key for allowed requests alone; whoever has the file isn't held to that.
fn tell_of_readable_key(key: &Path, jailed: Option<&Identity>) {
    if jailed.is_none_or(|jailed| can_read(jailed, key).unwrap_or(false)) {
        tracing::warn!(
            "the command can read the key {} of --client-cert: make it root's alone, if you can",
            key.display()
        );
    }
}

/// Whether `user` can read `path`, by the modes of the file and of the folders above it.
fn can_read(user: &Identity, path: &Path) -> io::Result<bool> {
    let path = path.canonicalize()?;
    for folder in path.ancestors().skip(1) {
        if !has_right(user, folder, 0o1)? {
            return Ok(false);
        }
    }
    has_right(user, &path, 0o4)
}

/// Whether `user` has this right, of those that a mode gives each of owner, group and others.
fn has_right(user: &Identity, path: &Path, right: u32) -> io::Result<bool> {
    let metadata = path.metadata()?;
    let group = metadata.gid();
    let shift = if metadata.uid() == user.uid() {
        6
    } else if user.gid() == group || user.groups().contains(&group) {
        3
    } else {
        0
    };
    Ok(metadata.mode() & (right << shift) != 0)
}

fn private_access(ranges: &[PrivateRange]) -> PrivateAccess {
    let mut networks = Vec::new();
    for range in ranges {
        match range {
            PrivateRange::All => return PrivateAccess::All,
            PrivateRange::Net(network) => networks.push(*network),
        }
    }
    if networks.is_empty() { PrivateAccess::None } else { PrivateAccess::Cidrs(networks) }
}

#[cfg(test)]
mod tests {
    use std::{error::Error, fs, path::PathBuf};

    use tempfile::TempDir;

    use super::*;

    /// A folder with files of these contents, by name.
    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn authority(name: &str) -> String {
        rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap().cert.pem()
    }

    /// The error and its causes, as the user reads them.
    fn in_full(error: &SessionError) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    fn with_ca(paths: Vec<PathBuf>) -> Result<Options, SessionError> {
        options(&UpstreamPlan { extra_ca: paths, ..UpstreamPlan::default() }, None)
    }

    fn with_identity(certificate: PathBuf, key: PathBuf) -> Result<Options, SessionError> {
        let hosts = "a.test".parse().unwrap();
        let client_certs = vec![ClientCert { hosts, certificate, key }];
        options(&UpstreamPlan { client_certs, ..UpstreamPlan::default() }, None)
    }

    #[test]
    fn every_certificate_of_every_file_is_trusted() {
        let several = format!("# two\n{}\nbetween\n{}", authority("a.test"), authority("b.test"));
        let folder = folder(&[("two", &several), ("one", &authority("c.test"))]);
        let paths = vec![folder.path().join("two"), folder.path().join("one")];
        assert_eq!(with_ca(paths).unwrap().extra_ca.len(), 3);
    }

    #[test]
    fn files_that_hold_no_authority_are_named() {
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cut = authority("a.test").replace("-----END CERTIFICATE-----", "");
        let folder = folder(&[
            ("good", &authority("a.test")),
            ("empty", ""),
            ("text", "not PEM"),
            ("junk", &(authority("a.test") + junk)),
            ("cut", &cut),
            ("key", &rcgen::KeyPair::generate().unwrap().serialize_pem()),
        ]);
        let good = folder.path().join("good");
        let told: Vec<_> = ["absent", "", "empty", "text", "junk", "cut", "key"]
            .map(|name| {
                let error = with_ca(vec![good.clone(), folder.path().join(name)]).unwrap_err();
                in_full(&error).replace(&folder.path().display().to_string(), "DIR")
            })
            .into();
        insta::assert_snapshot!(told.join("\n"), @r"
        read the certificates in DIR/absent: No such file or directory (os error 2)
        read the certificates in DIR/: Is a directory (os error 21)
        read the certificates in DIR/empty: there is no certificate in it (PEM)
        read the certificates in DIR/text: there is no certificate in it (PEM)
        trust every certificate in DIR/junk: use an upstream CA certificate: invalid peer certificate: BadEncoding
        read the certificates in DIR/cut: a part of it isn't PEM as it should be
        read the certificates in DIR/key: there is no certificate in it (PEM)
        ");
    }

    #[test]
    fn a_certificate_and_its_key_are_an_identity() {
        let pair = rcgen::generate_simple_self_signed(vec!["me".to_owned()]).unwrap();
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        // As openssl writes it: one file with both.
        let both = format!("{key}{certificate}");
        let folder = folder(&[("both", &both), ("cert", &certificate), ("key", &key)]);
        let file = |name: &str| folder.path().join(name);
        for (certificate, key) in [("cert", "key"), ("both", "both")] {
            let options = with_identity(file(certificate), file(key)).unwrap();
            assert_eq!(options.identities.len(), 1);
            assert!(!format!("{options:?}").contains("PRIVATE"));
        }
    }

    #[test]
    fn certificates_and_keys_that_are_of_no_use_are_named() {
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let locked = other.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let body: String = other.lines().filter(|line| !line.starts_with('-')).collect();
        let broken = other.replace(&other[28..40], "AAAAAAAAAAAA");
        assert!(body.len() > 40 && broken != other);
        let folder = folder(&[
            ("cert", &authority("me")),
            ("other", &other),
            ("locked", &locked),
            ("broken", &broken),
            ("empty", ""),
        ]);
        let file = |name: &str| folder.path().join(name);
        let told: Vec<_> = [
            ("absent", "other"),
            ("cert", "absent"),
            ("empty", "other"),
            ("cert", "cert"),
            ("cert", "locked"),
            ("cert", "broken"),
            ("cert", "other"),
        ]
        .map(|(certificate, key)| {
            let error = with_identity(file(certificate), file(key)).unwrap_err();
            in_full(&error).replace(&folder.path().display().to_string(), "DIR")
        })
        .into();
        insta::assert_snapshot!(told.join("\n"), @r"
        read DIR/absent (--client-cert): No such file or directory (os error 2)
        read DIR/absent (--client-cert): No such file or directory (os error 2)
        read DIR/empty (--client-cert): there is no certificate in it (PEM)
        read DIR/cert (--client-cert): there is no private key without a passphrase in it (PEM)
        read DIR/locked (--client-cert): there is no private key without a passphrase in it (PEM)
        use DIR/cert with the key DIR/broken (--client-cert): the key is none of RSA, ECDSA and Ed25519
        use DIR/cert with the key DIR/other (--client-cert): they don't belong together
        ");
    }

    #[test]
    fn keys_that_the_command_can_read_are_told() {
        use std::os::unix::fs::PermissionsExt;
        let alice = Identity::fixture();
        let folder = folder(&[("key", "")]);
        let key = folder.path().join("key");
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        for (above, mode, readable) in [
            (0o755, 0o644, true),
            (0o711, 0o604, true),
            (0o755, 0o640, false),
            (0o755, 0o600, false),
            (0o700, 0o644, false),
            (0o750, 0o644, false),
        ] {
            set(folder.path(), above).unwrap();
            set(&key, mode).unwrap();
            assert_eq!(can_read(&alice, &key).unwrap(), readable, "{above:o} {mode:o}");
        }
        set(folder.path(), 0o755).unwrap();
        std::os::unix::fs::chown(&key, Some(alice.uid()), None).unwrap();
        set(&key, 0o400).unwrap();
        assert!(can_read(&alice, &key).unwrap());
        std::os::unix::fs::chown(&key, Some(0), Some(alice.gid())).unwrap();
        set(&key, 0o440).unwrap();
        assert!(can_read(&alice, &key).unwrap());
    }
}
