//! The way out: resolves what was judged, guards special addresses, dials, verifies, pools.

mod bulk;
mod client;
mod dial;
mod error;
mod http2;
mod interim;
mod options;
mod pool;
mod ranges;
mod resolve;
mod switch;
mod trust;

pub(crate) use client::{Client, Speaks};
pub(crate) use dial::Route;
pub use error::UpstreamError;
pub(crate) use interim::on_interim;
pub use options::{Options, PrivateAccess};
pub(crate) use pool::{Lease, Origin};
pub(crate) use switch::Switch;
pub use trust::{Trust, TrustError};
