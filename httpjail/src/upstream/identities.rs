//! Who httpjail is to origins that want to know: client certificates, each for its hosts alone.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig,
    client::{ResolvesClientCert, Resumption},
    crypto::aws_lc_rs,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::policy::{Host, HostPattern};

/// How many sessions are kept to resume, for each certificate.
const SESSIONS: usize = 64;

/// A certificate that is shown to some origins, with its key (`--client-cert`).
#[derive(Clone)]
pub struct ClientIdentity {
    /// The origins.
    hosts: HostPattern,
    certified: Arc<CertifiedKey>,
}

/// Why a certificate and a key are no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key is of a kind that TLS doesn't use, or broken.
    #[error("the key is none of RSA, ECDSA and Ed25519")]
    Key,
    /// The certificate can't be read.
    #[error("the certificate can't be read")]
    Certificate(#[source] rustls::Error),
    /// They have nothing to do with each other.
    #[error("they don't belong together")]
    Mismatch,
}

impl ClientIdentity {
    /// The identity that `chain` and the `key` of its first certificate give, for these hosts.
    ///
    /// # Errors
    ///
    /// When the key doesn't fit.
    pub fn new(
        hosts: HostPattern,
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<Self, IdentityError> {
        let signer = aws_lc_rs::sign::any_supported_type(key).map_err(|_| IdentityError::Key)?;
        let certified = CertifiedKey::new(chain, signer);
        match certified.keys_match() {
            Ok(()) => Ok(Self { hosts, certified: Arc::new(certified) }),
            Err(rustls::Error::InconsistentKeys(_)) => Err(IdentityError::Mismatch),
            Err(error) => Err(IdentityError::Certificate(error)),
        }
    }
}

impl fmt::Debug for ClientIdentity {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// All client certificates, the closest to a host first.
#[derive(Debug, Default)]
pub(super) struct Identities(Vec<Known>);

#[derive(Debug)]
struct Known {
    hosts: HostPattern,
    resolver: Arc<dyn ResolvesClientCert>,
    /// The settings that were asked for, and the same with the certificate.
    configs: Mutex<Vec<(Arc<ClientConfig>, Arc<ClientConfig>)>>,
}

impl Identities {
    pub(super) fn new(given: &[ClientIdentity]) -> Self {
        let mut known: Vec<_> = given.iter().map(Known::new).collect();
        known.sort_by_key(|known| std::cmp::Reverse(known.hosts.closeness()));
        Self(known)
    }

    /// `config`, with the certificate for `host` if there is one.
    pub(super) fn towards(&self, host: &Host, config: Arc<ClientConfig>) -> Arc<ClientConfig> {
        match self.0.iter().find(|known| known.hosts.matches(host)) {
            Some(known) => known.apply(config),
            None => config,
        }
    }
}

impl Known {
    fn new(identity: &ClientIdentity) -> Self {
        let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&identity.certified)));
        Self { hosts: identity.hosts.clone(), resolver, configs: Mutex::default() }
    }

    fn apply(&self, config: Arc<ClientConfig>) -> Arc<ClientConfig> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, made)) = configs.iter().find(|(from, _)| Arc::ptr_eq(from, &config)) {
            return Arc::clone(made);
        }
        let mut made = ClientConfig::clone(&config);
        made.client_auth_cert_resolver = Arc::clone(&self.resolver);
        // A session that was begun as somebody must not be gone on with as somebody else.
        made.resumption = Resumption::in_memory_sessions(SESSIONS);
        let made = Arc::new(made);
        configs.push((config, Arc::clone(&made)));
        made
    }
}
