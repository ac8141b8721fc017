//! The jail's own certificate authority, the leaves it mints, and how jailed programs come to
//! trust it.

mod authority;
mod child_trust;
mod java;
mod leaf;

pub use authority::{Authority, AuthorityError};
pub use child_trust::{ChildTrust, TrustError};
pub use leaf::Leaves;
