//! The way out: resolves what was judged, guards special addresses, dials, verifies, pools.

mod apart;
mod bulk;
mod client;
mod dial;
mod error;
mod options;
mod pool;
mod ranges;
mod resolve;
mod switch;
mod trust;

pub(crate) use client::Client;
pub(crate) use dial::Route;
pub use error::UpstreamError;
pub use options::{Options, PrivateAccess};
pub(crate) use pool::{Lease, Origin};
pub(crate) use switch::Switch;
pub use trust::{Trust, TrustError};
