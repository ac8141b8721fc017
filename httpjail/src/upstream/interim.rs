//! Interim answers (1xx), from origins of either version of HTTP.

use http::{HeaderMap, StatusCode};

/// Whoever wants to know what comes before an answer.
pub(crate) trait OnInterim {
    /// An interim answer has come.
    fn tell(&self, status: StatusCode, headers: &HeaderMap);
}

/// Nobody.
impl OnInterim for () {
    fn tell(&self, _: StatusCode, _: &HeaderMap) {}
}
