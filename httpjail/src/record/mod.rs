//! The record of what was asked and decided: exactly one for each request.

mod file;
mod line;
mod sink;
mod stamp;
mod writer;

pub use file::{LogError, LogFile};
pub use sink::{Recorder, RecorderHandle};
