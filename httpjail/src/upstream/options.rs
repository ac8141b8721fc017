//! What the user decided about the way out.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use rustls_pki_types::CertificateDer;

use super::{ClientIdentity, Proxies, ranges};
use crate::policy::Host;

/// What the user decided about the way out.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Addresses for names, instead of the resolver's (`--resolve`).
    pub resolve: Vec<(Host, IpAddr)>,
    /// Authorities that are trusted beside the system's (`--upstream-ca`).
    pub extra_ca: Vec<CertificateDer<'static>>,
    /// What some origins are shown of who asks them (`--client-cert`).
    pub identities: Vec<ClientIdentity>,
    /// Special address ranges that may be dialled (`--allow-private`).
    pub allow_private: PrivateAccess,
    /// Proxies on the way (`--upstream-proxy`).
    pub proxies: Proxies,
    /// How long each step of the way may take.
    pub timeouts: Timeouts,
}

/// How long each step of the way to an origin may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Finding the addresses of a name.
    pub resolve: Duration,
    /// Connecting to one of them.
    pub connect: Duration,
    /// What a proxy on the way needs to connect to the origin.
    pub tunnel: Duration,
    /// The TLS handshake.
    pub handshake: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let each = Duration::from_secs(10);
        Self { resolve: each, connect: each, tunnel: 2 * each, handshake: each }
    }
}

/// Which of the special address ranges may be dialled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PrivateAccess {
    /// None.
    #[default]
    None,
    /// All that can be dialled.
    All,
    /// Those in one of these networks.
    Cidrs(Vec<IpNet>),
}

impl PrivateAccess {
    /// Whether these settings open the special address `ip`.
    pub(super) fn opens(&self, ip: IpAddr) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Cidrs(nets) => {
                let ip = ranges::unmapped(ip);
                nets.iter().any(|net| net.contains(&ip))
            }
        }
    }
}
