//! Starts the command: born in the jail's cgroup, held until the jail is armed, then stripped of
//! what it must not have and executed.
//!
//! ```text
//! spawn()      prepare everything -> clone into the cgroup -> HeldChild
//! the child    close descriptors, reset signals, wait at the gate
//! release()    open the gate -> identity, no_new_privs, exec -> Child
//! ```
//!
//! Between the clone and the exec the child runs only what POSIX calls async-signal-safe: other
//! threads of the parent may have held any lock. So whatever needs memory is made before.

mod capabilities;
mod child;
mod clone;
mod error;
mod held;
mod image;
mod signals;
mod stdio;

pub use error::{SpawnError, Step};
pub use held::{Child, HeldChild, SpawnPlan, spawn};
pub use signals::Signals;

#[cfg(test)]
mod tests;
