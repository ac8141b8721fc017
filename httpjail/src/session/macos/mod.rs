//! A run on macOS, with root: pf brings what a user of the jail's own says to the proxy.
//!
//! ```text
//! httpjail (root)      plans, takes the account, binds, loads the anchor, forks
//! ├── the keeper (root)    starts the command, waits, ends the account's processes, undoes all
//! │   └── the command          as the jail's account
//! └── itself, from then on, the proxy: as the invoking user, with no right but to ask pf
//! ```
//!
//! The keeper parses nothing that comes from the jail. It is the child, and the proxy goes on in the
//! first process, because macOS's own libraries (names are looked up by one) promise nothing to a
//! process that was forked and executes nothing. If either dies, the other ends the run; if both
//! are killed, the anchor stays: it turns the account to ports that nobody serves, until the next run
//! or `httpjail cleanup` sweeps it.

mod beside;
mod clients;
mod container;
pub(super) mod control;
mod error;
mod files;
mod flows;
mod folder;
mod guard;
mod keeper;
mod report;
pub(super) mod rules_process;
mod run;
mod server;
mod setup;
mod weak;

pub use container::run_container;
pub use error::MacError;
pub use folder::cleanup;
pub use run::run;
pub use server::run_server;
pub use setup::setup;
pub use weak::run_weak;
