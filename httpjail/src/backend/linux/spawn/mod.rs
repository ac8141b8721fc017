//! Starts the command below an init of its own: born in the jail's cgroup, stripped of what the
//! command must not have, and held until the jail is armed.
//!
//! ```text
//! spawn()      prepare everything -> clone into cgroup and namespaces -> Unready
//! held()       wait until the child waits -> HeldChild
//! the child    close descriptors, mounts, filter, identity, no_new_privs, wait at the gate
//! release()    open the gate -> the child is init, tries the jail, executes the command -> Child
//! wait()       the command's status, by a pipe; init's end ends what is left
//! ```
//!
//! Between the clone and the exec the child runs only what POSIX calls async-signal-safe: other
//! threads of the parent may have held any lock. So whatever needs memory is made before.

mod canary;
mod capabilities;
mod child;
mod clone;
mod cmdline;
mod credentials;
mod error;
mod guards;
mod held;
mod image;
mod init;
mod landlock;
mod mounts;
mod plain;
mod seccomp;
mod signals;
mod stand_ins;
mod stdio;
pub(super) mod view;

pub use crate::backend::Privileges;
pub use canary::{Canary, WORD};
pub use error::{SpawnError, Step};
pub use held::{Child, HeldChild, SpawnPlan, Unready, spawn};
pub(crate) use init::ENDING;
pub(crate) use landlock::is_there as has_landlock;
pub(crate) use plain::{PlainChild, PlainPlan, spawn_plain};
pub use signals::Signals;
pub use stdio::{Outer, Replacement, sockets};

#[cfg(test)]
mod tests;
