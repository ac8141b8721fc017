//! The jail's own certificate authority, the leaves it mints, and how jailed programs come to
//! trust it.

mod authority;
mod child_trust;
mod java;
mod kept;
mod leaf;

pub use authority::{Authority, AuthorityError};
#[cfg(target_os = "linux")]
pub(crate) use child_trust::SYSTEM_BUNDLES;
pub use child_trust::{ChildTrust, TrustError};
pub use kept::{Kept, KeptError, folder as kept_folder};
pub use leaf::{Leaves, Preference};
