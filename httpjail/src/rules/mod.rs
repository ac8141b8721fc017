//! Rule engines: what the user wrote, as something that judges requests.

mod error;
mod quickjs;
mod source;

pub use error::RuleError;
pub use quickjs::Js;
pub use source::RuleSource;
