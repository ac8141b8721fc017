//! One run from plan to outcome: `Planned → Armed → Running → Outcome`.
//!
//! The supervisor holds the privileges and parses nothing that comes from the jail; what does
//! lives in a role of its own (`proxy_role`). Anything that can't be put up stops the run before
//! the command's first instruction, and what was put up goes in reverse (P4, P11).

mod doors;
mod error;
mod fresh;
mod hint;
pub mod kept;
mod outcome;
mod pem_file;
mod question;
mod rule_file;
mod rule_files;
mod rule_watch;
mod rules_role;
mod servers;
mod service;
mod serving;
mod step_summary;
mod told;
mod way_out;

#[cfg(target_os = "linux")]
mod arm;
#[cfg(target_os = "linux")]
mod canary;
#[cfg(target_os = "linux")]
mod carry;
#[cfg(target_os = "linux")]
mod container;
#[cfg(target_os = "linux")]
mod control;
#[cfg(target_os = "linux")]
mod host;
#[cfg(target_os = "linux")]
mod inspect;
#[cfg(target_os = "linux")]
mod jail;
#[cfg(target_os = "linux")]
mod log;
#[cfg(target_os = "linux")]
mod proxy_process;
#[cfg(target_os = "linux")]
mod proxy_role;
#[cfg(target_os = "linux")]
mod reap;
#[cfg(target_os = "linux")]
mod refused;
#[cfg(target_os = "linux")]
mod relay;
#[cfg(target_os = "linux")]
mod rules_process;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod run_dir;
#[cfg(target_os = "linux")]
mod supervise;

#[cfg(target_os = "macos")]
mod macos;
/// What needs no Mac of it, to be tested anywhere.
#[cfg(all(test, target_os = "linux"))]
#[path = "macos/control.rs"]
mod macos_control;

pub use error::SessionError;
pub use outcome::{Outcome, Swept, Unstarted};
pub use question::decide;

#[cfg(target_os = "linux")]
pub use container::run_container;
#[cfg(target_os = "linux")]
pub use reap::cleanup;
#[cfg(target_os = "linux")]
pub use run::run;
#[cfg(target_os = "linux")]
pub use told::{run_server, run_weak};

#[cfg(target_os = "macos")]
pub use macos::{MacError, cleanup, run, run_container, run_server, run_weak, setup};
#[cfg(target_os = "macos")]
use macos::{control, rules_process};
