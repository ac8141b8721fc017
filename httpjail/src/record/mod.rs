//! The record of what was asked and decided: exactly one for each request.

mod exchange;
mod file;
mod json;
mod ledger;
mod line;
mod recorder;
mod refusal;
mod sink;
mod stamp;
mod summary;
mod writer;

#[cfg(test)]
mod schema;

pub use exchange::{Client, Exchange, Fault};
pub use file::{LogError, LogFile};
pub use ledger::Urls;
pub use recorder::{Ended, Outputs, Recorder, RecorderHandle, Refused};
pub use refusal::KernelRefusal;
#[cfg(test)]
pub(crate) use schema::check_records;
pub use summary::Summary;
