//! Who made a decision, as records tell it.

use std::sync::Arc;

/// What decided about a request: an engine, or a pattern of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecidedBy {
    /// The engine of this name.
    Engine(&'static str),
    /// An option of the user's.
    Option {
        /// `--allow`, for example.
        option: &'static str,
        /// Its value that is about the request, as the user wrote it.
        pattern: Arc<str>,
    },
}

impl DecidedBy {
    /// How records call it.
    pub fn engine(&self) -> &'static str {
        match self {
            Self::Engine(name) => name,
            Self::Option { .. } => "option",
        }
    }
}
