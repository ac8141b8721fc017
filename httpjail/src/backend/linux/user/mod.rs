//! Whom the command runs as, and what it finds in its environment.

mod as_user;
mod environment;
mod groups;
mod identity;

pub(crate) use as_user::as_user;
pub use environment::child_environment;
pub use identity::{Identity, UserError, invoking_user};
