//! One run from plan to outcome: `Planned → Armed → Running → Outcome`.
//!
//! The supervisor holds the privileges and parses nothing that comes from the jail; what does
//! lives in a role of its own (`proxy_role`). Anything that can't be put up stops the run before
//! the command's first instruction, and what was put up goes in reverse (P4, P11).

mod arm;
mod canary;
mod carry;
mod control;
mod doors;
mod error;
mod inspect;
mod jail;
pub mod kept;
mod log;
mod pem_file;
mod proxy_process;
mod proxy_role;
mod question;
mod reap;
mod relay;
mod rule_file;
mod rule_files;
mod rule_watch;
mod rules_process;
mod rules_role;
mod run;
mod run_dir;
mod servers;
mod supervise;
mod told;
mod way_out;

pub use error::SessionError;
pub use question::decide;
pub use reap::{Swept, cleanup};
pub use run::{Outcome, run};
pub use told::{run_server, run_weak};
