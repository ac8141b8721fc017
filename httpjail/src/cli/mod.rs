//! The command line: `args` reads it, `plan` understands it, `run` does it, `exit` and `report`
//! tell how it went.

mod args;
mod bind;
mod ca;
mod doctor;
pub mod exit;
#[cfg(target_os = "macos")]
mod keychain;
mod log;
// The page is of Linux: the options of the other systems are others.
#[cfg(all(test, target_os = "linux"))]
mod man;
mod options;
pub mod plan;
mod question;
mod report;
mod run;
#[cfg(target_os = "linux")]
mod trust;
mod upstream_proxy;

pub use run::main;
