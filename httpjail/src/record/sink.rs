//! Where records go.

use std::fs::File;

use crate::policy::{Authority, Decision, RequestFacts};

/// A request log that was opened for appending.
#[derive(Debug)]
pub struct LogFile(#[expect(dead_code, reason = "skeleton")] File);

/// Writes records. Cheap to clone; one for each worker thread.
#[derive(Clone, Debug, Default)]
pub struct Recorder {}

impl Recorder {
    /// A recorder that keeps nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Records one judged request.
    pub fn request(&self, _facts: &RequestFacts, _decision: &Decision) {}

    /// Records a flow that was refused before it could be read as a request: `protocol` is
    /// `TCP` for bytes that are neither TLS nor HTTP, `TLS` for a handshake that failed, `HTTP`
    /// for a request that could not be parsed or whose names disagree.
    pub fn refused_flow(&self, _protocol: &'static str, _target: &Authority) {}
}
