//! Who vouches for origins. There is no way to switch verification off.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::CertificateDer;

/// A failure to set up verification.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// An authority that the user gave can't be used.
    #[error("use an upstream CA certificate")]
    ExtraCa(#[source] rustls::Error),
    /// The TLS library refuses the settings.
    #[error("set up TLS for upstream")]
    Tls(#[source] rustls::Error),
}

/// The roots that origins are verified against: the system's, or Mozilla's where the system has
/// none, and what the user added. Read on first use, once for all threads.
#[derive(Debug)]
pub struct Trust {
    extra: RootCertStore,
    config: OnceLock<Arc<ClientConfig>>,
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
        Ok(Self { extra: roots, config: OnceLock::new() })
    }

    /// Settings for a TLS connection to an origin. The first call reads the system's roots, which
    /// takes some milliseconds.
    ///
    /// # Errors
    ///
    /// When the TLS library refuses the settings.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, TrustError> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.build()?);
        Ok(Arc::clone(self.config.get_or_init(|| config)))
    }

    fn build(&self) -> Result<ClientConfig, TrustError> {
        let mut roots = system_roots();
        roots.extend(self.extra.roots.iter().cloned());
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(TrustError::Tls)?
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
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
