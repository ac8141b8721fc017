//! HTTP/1 as its client speaks it (RFC 9112).

mod exchange;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod head;

pub(super) use exchange::{Failed, exchange};
pub use head::HeadError;

use crate::streams::{BodyError, http1::MessageError};

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The connection broke, or ended.
    #[error(transparent)]
    Connection(#[from] MessageError),
    /// The answer can't be read.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The request broke off before there was an answer.
    #[error("the request's body broke off")]
    Request(#[source] BodyError),
}
