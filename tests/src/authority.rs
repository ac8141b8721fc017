//! The certificate authority that the lab's web servers are trusted by.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate authority made for one lab.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "httpjail lab");
        let certificate = params.self_signed(&key).expect("a root signs itself");
        Self { pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// The authority's certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// What a server of `name` with these addresses shows its clients, with its choice of protocols.
    pub(crate) fn server(
        &self,
        name: &str,
        addresses: &[IpAddr],
        alpn: &[&str],
    ) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name of the lab");
        let addresses = addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
        let leaf = params.signed_by(&key, &self.issuer).expect("the authority signs");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("a certificate and its own key");
        config.alpn_protocols = alpn.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}
