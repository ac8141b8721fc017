//! The command line: `args` reads it, `plan` understands it, `run` does it, `exit` and `report`
//! tell how it went.

mod args;
mod bind;
mod doctor;
pub mod exit;
mod log;
mod options;
pub mod plan;
mod question;
mod report;
mod run;
mod trust;
mod upstream_proxy;

pub use run::main;
