//! The record of what was asked and decided: exactly one for each request.

mod sink;

pub use sink::{LogFile, Recorder};
