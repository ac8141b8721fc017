//! Who vouches for origins. There is no way to switch verification off.

use std::{io, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::CertificateDer;
use tokio::sync::OnceCell;

use super::apart::Apart;

/// A failure to set up verification.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// An authority that the user gave can't be used.
    #[error("use an upstream CA certificate")]
    ExtraCa(#[source] rustls::Error),
    /// The TLS library refuses the settings.
    #[error("set up TLS for upstream")]
    Tls(#[source] rustls::Error),
    /// There was no thread to read the roots.
    #[error("read the system's root certificates")]
    Roots(#[source] io::Error),
}

/// The roots that origins are verified against: the system's, or Mozilla's where the system has
/// none, and what the user added. Read on first use, once for all threads.
#[derive(Debug)]
pub struct Trust {
    extra: RootCertStore,
    config: OnceCell<Arc<ClientConfig>>,
    apart: Apart,
}

impl Trust {
    /// Trust in the system's roots and `extra`.
    ///
    /// # Errors
    ///
    /// When one of `extra` isn't a certificate that can be trusted.
    pub fn new(extra: &[CertificateDer<'static>]) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in extra {
            roots.add(certificate.clone()).map_err(TrustError::ExtraCa)?;
        }
        Ok(Self { extra: roots, config: OnceCell::new(), apart: Apart::new() })
    }

    /// Settings for a TLS connection to an origin. The first call reads the system's roots, which
    /// takes some milliseconds, on a thread where nobody waits for it.
    ///
    /// # Errors
    ///
    /// When the TLS library refuses the settings, or the system gives no thread.
    pub async fn client_config(&self) -> Result<Arc<ClientConfig>, TrustError> {
        let read = || async {
            let extra = self.extra.clone();
            self.apart.run(move || build(&extra)).await.map_err(TrustError::Roots)?.map(Arc::new)
        };
        self.config.get_or_try_init(read).await.cloned()
    }

    /// Whether [`Self::client_config`] answers at once.
    pub fn is_ready(&self) -> bool {
        self.config.initialized()
    }
}

fn build(extra: &RootCertStore) -> Result<ClientConfig, TrustError> {
    let mut roots = system_roots();
    roots.extend(extra.roots.iter().cloned());
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn system_roots() -> RootCertStore {
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::debug!(%error, "some of the system's roots can't be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        tracing::info!("the system has no root certificates: Mozilla's are used");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_extra_authority_is_refused() {
        let junk = CertificateDer::from(vec![1, 2, 3]);
        assert!(matches!(Trust::new(&[junk]), Err(TrustError::ExtraCa(_))));
    }
}
