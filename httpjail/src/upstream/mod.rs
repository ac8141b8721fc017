//! The way out: resolves what was judged, guards special addresses, dials, verifies, pools.

mod apart;
mod client;
mod dial;
mod dialled;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub(crate) mod http1;
mod http2;
mod identities;
mod interim;
mod options;
mod pool;
mod proxies;
mod ranges;
mod resolve;
mod switch;
mod trust;
mod versions;
mod via;

#[cfg(test)]
mod tests;

pub(crate) use client::{Client, Speaks};
pub(crate) use dial::Route;
pub(crate) use dialled::Dial;
pub use error::UpstreamError;
pub use http1::{ExchangeError, HeadError};
pub use identities::{ClientIdentity, IdentityError};
pub(crate) use interim::OnInterim;
pub use options::{Options, PrivateAccess, Timeouts};
pub(crate) use pool::{Lease, Origin};
pub use proxies::{ExceptedHosts, Exception, Proxies, Proxy};
pub(crate) use switch::Switch;
pub use trust::{Trust, TrustError};
pub use via::ViaError;
