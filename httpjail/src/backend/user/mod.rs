//! Whom the command runs as, and what it finds in its environment.

mod as_user;
mod environment;
mod groups;
mod identity;
mod passwd;

pub(crate) use as_user::as_user;
pub use environment::{Wishes, child_environment, own_environment, told_environment};
pub use identity::{Identity, UserError, invoking_user, of_command};
