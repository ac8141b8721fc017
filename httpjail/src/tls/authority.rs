//! The certificate authority of one run. Its key lives in this process's memory alone (P12), or is that
//! of a kept authority ([`super::kept`]).

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::{
    crypto::{CryptoProvider, aws_lc_rs},
    server::ProducesTickets,
    sign::{CertifiedKey, SigningKey},
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use crate::policy::Host;

/// Clocks in the jail may be behind (a container started from an image, a test with a fake time).
const CLOCK_SKEW: Duration = Duration::days(1);
/// No run lives longer, and with the run the key is gone.
const AUTHORITY_VALIDITY: Duration = Duration::days(365);
/// One that is kept must be installed by a person.
const KEPT_VALIDITY: Duration = Duration::days(3650);
const NAME: &str = "httpjail CA";
/// Another name, so that nobody takes the one for the other.
pub(super) const KEPT_NAME: &str = "httpjail kept CA";
/// Leaves are minted anew long before ([`super::Leaves`]).
const LEAF_VALIDITY: Duration = Duration::days(7);

/// A failure to make the authority or a leaf.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A key could not be made.
    #[error("make a key")]
    Key(#[source] rcgen::Error),
    /// A certificate could not be signed.
    #[error("sign a certificate")]
    Certificate(#[source] rcgen::Error),
    /// The TLS library refuses our own key or settings.
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
    /// The system gave no random bytes.
    #[error("get random bytes")]
    Random,
}

/// A P-256 certificate authority that was made for this run, or is kept from run to run, and the one
/// key that all its leaves share.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    leaf_key: KeyPair,
    leaf_signer: Arc<dyn SigningKey>,
    provider: Arc<CryptoProvider>,
    ticketer: Arc<dyn ProducesTickets>,
}

impl Authority {
    /// Makes a new authority.
    ///
    /// # Errors
    ///
    /// When keys, certificates or random bytes can't be made.
    pub fn new() -> Result<Self, AuthorityError> {
        let provider = provider();
        let (params, key) = (authority_params(&provider, NAME, AUTHORITY_VALIDITY)?, new_key()?);
        let certificate = params.self_signed(&key).map_err(AuthorityError::Certificate)?;
        let pem = certificate.pem();
        Self::assemble(provider, Issuer::new(params, key), certificate.into(), pem)
    }

    /// The kept authority with this key and this certificate, both as PEM.
    ///
    /// # Errors
    ///
    /// When the key is none, or can't be used.
    pub(super) fn kept(
        key: &str,
        certificate: CertificateDer<'static>,
        pem: String,
    ) -> Result<Self, AuthorityError> {
        let provider = provider();
        let key = KeyPair::from_pem(key).map_err(AuthorityError::Key)?;
        let params = authority_params(&provider, KEPT_NAME, KEPT_VALIDITY)?;
        Self::assemble(provider, Issuer::new(params, key), certificate, pem)
    }

    fn assemble(
        provider: CryptoProvider,
        issuer: Issuer<'static, KeyPair>,
        certificate: CertificateDer<'static>,
        certificate_pem: String,
    ) -> Result<Self, AuthorityError> {
        let provider = Arc::new(provider);
        let leaf_key = new_key()?;
        let leaf_der = PrivatePkcs8KeyDer::from(leaf_key.serialize_der());
        let leaf_signer = provider.key_provider.load_private_key(leaf_der.into())?;
        let ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self { issuer, certificate, certificate_pem, leaf_key, leaf_signer, provider, ticketer })
    }

    /// The certificate as PEM, for the bundle that the jailed programs trust.
    pub fn certificate_pem(&self) -> String {
        self.certificate_pem.clone()
    }

    /// The certificate as DER.
    pub fn certificate_der(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// Signs a leaf for `host`: a DNS name or an address in the alternative name, and a serial
    /// number of its own, for some clients refuse two certificates with the same one.
    pub(super) fn mint(&self, host: &Host) -> Result<CertifiedKey, AuthorityError> {
        let leaf = leaf_params(&self.provider, host)?
            .signed_by(&self.leaf_key, &self.issuer)
            .map_err(AuthorityError::Certificate)?;
        Ok(CertifiedKey::new(vec![leaf.der().clone()], Arc::clone(&self.leaf_signer)))
    }

    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    pub(super) fn ticketer(&self) -> &Arc<dyn ProducesTickets> {
        &self.ticketer
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// What the jail's side of TLS may use, best first.
///
/// These connections cross the loopback device alone, so the cheapest of the sound choices is the
/// right one: 128-bit AES with SHA-256 takes half the time of 256-bit AES with SHA-384 in a
/// handshake, and nobody can record traffic here to break it in twenty years, so no post-quantum
/// key exchange either. Upstream connections keep the library's defaults.
fn provider() -> CryptoProvider {
    use aws_lc_rs::{cipher_suite::TLS13_AES_128_GCM_SHA256, kx_group};

    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| *suite != TLS13_AES_128_GCM_SHA256);
    provider.kx_groups = vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    provider
}

fn new_key() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Key)
}

/// A key for an authority that is kept, as PEM.
pub(super) fn new_kept_key() -> Result<String, AuthorityError> {
    Ok(new_key()?.serialize_pem())
}

/// A certificate for such a key, as PEM.
pub(super) fn kept_certificate(key: &str) -> Result<String, AuthorityError> {
    let key = KeyPair::from_pem(key).map_err(AuthorityError::Key)?;
    let params = authority_params(&provider(), KEPT_NAME, KEPT_VALIDITY)?;
    Ok(params.self_signed(&key).map_err(AuthorityError::Certificate)?.pem())
}

fn authority_params(
    provider: &CryptoProvider,
    name: &str,
    validity: Duration,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = common_params(provider, name, validity)?;
    // The signing authority must be valid whenever a leaf is.
    params.not_before -= CLOCK_SKEW;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(
    provider: &CryptoProvider,
    host: &Host,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = common_params(provider, "httpjail leaf", LEAF_VALIDITY)?;
    params.subject_alt_names = vec![match host {
        Host::Name(name) => {
            SanType::DnsName(name.as_str().try_into().map_err(AuthorityError::Certificate)?)
        }
        Host::Ip(ip) => SanType::IpAddress(*ip),
    }];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Python verifies strictly since 3.13, and then wants it.
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn common_params(
    provider: &CryptoProvider,
    name: &str,
    validity: Duration,
) -> Result<CertificateParams, AuthorityError> {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + validity;
    params.serial_number = Some(random_serial(provider)?);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

fn random_serial(provider: &CryptoProvider) -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0_u8; 16];
    provider.secure_random.fill(&mut bytes).map_err(|_| AuthorityError::Random)?;
    // A positive number of fixed length.
    bytes[0] = bytes[0] & 0x3f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
