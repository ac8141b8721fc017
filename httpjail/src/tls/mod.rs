//! The jail's own certificate authority and the leaves it mints.

mod authority;
mod leaf;

pub use authority::{Authority, AuthorityError};
pub use leaf::Leaves;
