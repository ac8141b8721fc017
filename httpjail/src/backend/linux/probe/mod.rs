//! What this host offers to a jail, tried out without leaving a trace.

mod guards;

use super::spawn::has_landlock;
pub use crate::backend::finding::{Finding, Optional, State};

/// The guard that jails can do without and that this host can't give. It is asked for at every
/// start, so it costs one call. (Without IPv6 nothing is open.)
pub fn lacking() -> Option<Optional> {
    (!has_landlock()).then_some(guards::LANDLOCK)
}

/// Tries every guard. What the caller may not try is said to be unknown.
pub fn findings() -> Vec<Finding> {
    guards::all()
}

/// The running kernel's version, as it calls itself.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
