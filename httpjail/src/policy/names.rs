//! Names behind addresses: where the proxy and the DNS stub meet.

use std::net::IpAddr;

/// Finds the name that a synthetic address stands for.
pub trait SyntheticNames: Send + Sync {
    /// The name that the DNS stub gave `address` for, if it gave it.
    fn name_of(&self, address: IpAddr) -> Option<String>;
}
