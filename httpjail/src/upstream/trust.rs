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
    configs: OnceCell<Configs>,
    apart: Apart,
}

/// The same settings, for each offer.
#[derive(Debug)]
struct Configs {
    http1: Arc<ClientConfig>,
    any: Arc<ClientConfig>,
}

/// Which versions of HTTP an origin is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2, or else HTTP/1.1.
    Any,
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
        Ok(Self { extra: roots, configs: OnceCell::new(), apart: Apart::new() })
    }

    /// Settings for a TLS connection to an origin that is made this `offer`. The first call reads
    /// the system's roots, which takes some milliseconds, on a thread where nobody waits for it.
    ///
    /// # Errors
    ///
    /// When the TLS library refuses the settings, or the system gives no thread.
    pub async fn client_config(&self, offer: Offer) -> Result<Arc<ClientConfig>, TrustError> {
        let read = || async {
            let extra = self.extra.clone();
            self.apart.run(move || build(&extra)).await.map_err(TrustError::Roots)?
        };
        let configs = self.configs.get_or_try_init(read).await?;
        Ok(Arc::clone(match offer {
            Offer::Http1 => &configs.http1,
            Offer::Any => &configs.any,
        }))
    }

    /// Whether [`Self::client_config`] answers at once.
    pub fn is_ready(&self) -> bool {
        self.configs.initialized()
    }
}

fn build(extra: &RootCertStore) -> Result<Configs, TrustError> {
    let mut roots = system_roots();
    roots.extend(extra.roots.iter().cloned());
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let offering = |protocols: &[&[u8]]| {
        let mut config = config.clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    };
    Ok(Configs { http1: offering(&[b"http/1.1"]), any: offering(&[b"h2", b"http/1.1"]) })
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(load_roots());
    if roots.is_empty() {
        tracing::info!("the system has no root certificates: Mozilla's are used");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

#[cfg(target_os = "linux")]
fn load_roots() -> Vec<CertificateDer<'static>> {
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::debug!(%error, "some of the system's roots can't be read");
    }
    loaded.certs
}

/// macOS keeps a copy of its roots in this file, for programs that bring OpenSSL. What was added to
/// a keychain isn't in it: `--upstream-ca` takes that.
#[cfg(target_os = "macos")]
fn load_roots() -> Vec<CertificateDer<'static>> {
    use rustls_pki_types::pem::PemObject;
    let file = std::env::var_os("SSL_CERT_FILE").unwrap_or_else(|| "/etc/ssl/cert.pem".into());
    match CertificateDer::pem_file_iter(&file) {
        Ok(found) => found.filter_map(Result::ok).collect(),
        Err(error) => {
            tracing::debug!(?file, %error, "the system's roots can't be read");
            Vec::new()
        }
    }
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
