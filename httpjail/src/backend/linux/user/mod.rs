//! Whom the command runs as, and what it finds in its environment.

mod environment;
mod identity;

pub use environment::child_environment;
pub use identity::{Identity, UserError, invoking_user};
