//! Leaf certificates, minted when a host is first seen and kept for a while.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use lru::LruCache;
use rustls::{
    ServerConfig,
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{Authority, AuthorityError};
use crate::policy::Host;

const HTTP2_FIRST: [&[u8]; 2] = [b"h2", b"http/1.1"];
const CAPACITY: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not zero");
/// Far below the leaf's own validity, so that none expires in a client's hands.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// The TLS settings for each host, kept by one worker thread.
pub struct Leaves {
    authority: Arc<Authority>,
    cache: LruCache<Host, Minted>,
}

struct Minted {
    http2_first: Arc<ServerConfig>,
    /// Made when it is first asked for.
    http1_first: Option<Arc<ServerConfig>>,
    at: Instant,
}

/// Which version of HTTP is chosen where the client speaks both. One that speaks a single one gets
/// it either way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preference {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Leaves {
    /// An empty cache of `authority`'s leaves.
    pub fn new(authority: Arc<Authority>) -> Self {
        Self { authority, cache: LruCache::new(CAPACITY) }
    }

    /// The settings with which to accept a TLS connection to `host`, with this `preference`.
    ///
    /// # Errors
    ///
    /// When no certificate can be made for `host`.
    pub fn server_config(
        &mut self,
        host: &Host,
        preference: Preference,
    ) -> Result<Arc<ServerConfig>, AuthorityError> {
        let now = Instant::now();
        if let Some(minted) = self.cache.get_mut(host)
            && now.duration_since(minted.at) < FRESH
        {
            return Ok(minted.config(preference));
        }
        let mut minted = Minted { http2_first: self.mint(host)?, http1_first: None, at: now };
        let config = minted.config(preference);
        self.cache.put(host.clone(), minted);
        Ok(config)
    }

    fn mint(&self, host: &Host) -> Result<Arc<ServerConfig>, AuthorityError> {
        let leaf = OnlyLeaf(Arc::new(self.authority.mint(host)?));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(self.authority.provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(leaf));
        // Clients ask for the dearest suite first; without AES in hardware they know better.
        config.ignore_client_order = aes_in_hardware();
        config.alpn_protocols = HTTP2_FIRST.map(<[u8]>::to_vec).into();
        // Stateless tickets resume on every thread. rustls resumes with the server name alone that the
        // session was begun with. Nothing rests on that: a request is judged by the name of the
        // handshake that it came by, and a session gives its client no right to any.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::clone(self.authority.ticketer());
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }
}

impl Minted {
    fn config(&mut self, preference: Preference) -> Arc<ServerConfig> {
        let config = match preference {
            Preference::Http2 => &self.http2_first,
            Preference::Http1 => self.http1_first.get_or_insert_with(|| {
                let mut config = ServerConfig::clone(&self.http2_first);
                config.alpn_protocols.reverse();
                Arc::new(config)
            }),
        };
        Arc::clone(config)
    }
}

fn aes_in_hardware() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

impl std::fmt::Debug for Leaves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaves").field("cached", &self.cache.len()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct OnlyLeaf(Arc<CertifiedKey>);

impl ResolvesServerCert for OnlyLeaf {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    #[test]
    fn a_host_keeps_its_leaf() {
        let mut leaves = Leaves::new(Arc::new(Authority::new().unwrap()));
        let mut config = |text| leaves.server_config(&host(text), Preference::Http2).unwrap();
        let first = config("a.test");
        assert!(Arc::ptr_eq(&first, &config("A.test.")));
        assert!(!Arc::ptr_eq(&first, &config("b.test")));
    }

    #[test]
    fn settings_of_both_preferences_share_leaf_and_tickets() {
        let mut leaves = Leaves::new(Arc::new(Authority::new().unwrap()));
        let http1 = leaves.server_config(&host("a.test"), Preference::Http1).unwrap();
        let http2 = leaves.server_config(&host("a.test"), Preference::Http2).unwrap();
        assert_eq!(http1.alpn_protocols, [&b"http/1.1"[..], b"h2"]);
        assert_eq!(http2.alpn_protocols, [&b"h2"[..], b"http/1.1"]);
        assert!(Arc::ptr_eq(&http1.cert_resolver, &http2.cert_resolver));
        assert!(Arc::ptr_eq(&http1.ticketer, &http2.ticketer));
    }

    #[test]
    fn leaves_verify_for_their_host_alone() {
        use rustls::client::{WebPkiServerVerifier, danger::ServerCertVerifier};
        use rustls_pki_types::{ServerName, UnixTime};

        let authority = Authority::new().unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.certificate_der()).unwrap();
        let provider = Arc::clone(authority.provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();

        for (text, other) in [("a.test", "b.test"), ("192.0.2.1", "192.0.2.2"), ("[::1]", "::2")] {
            let leaf = authority.mint(&host(text)).unwrap();
            let verify = |name: &str| {
                let name = ServerName::try_from(name.to_owned()).unwrap();
                verifier.verify_server_cert(&leaf.cert[0], &[], &name, &[], UnixTime::now())
            };
            verify(text.trim_matches(['[', ']'])).unwrap();
            verify(other).unwrap_err();
        }
    }

    #[test]
    fn serial_numbers_are_unique() {
        let authority = Authority::new().unwrap();
        let first = authority.mint(&host("a.test")).unwrap();
        let second = authority.mint(&host("a.test")).unwrap();
        // Two sequence heads of four bytes, the version, then the serial number.
        let serial = |leaf: &CertifiedKey| leaf.cert[0][13..31].to_vec();
        assert_eq!(serial(&first)[..2], [0x02, 16]);
        assert_ne!(serial(&first), serial(&second));
    }
}
