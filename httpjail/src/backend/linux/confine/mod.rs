//! How a role confines itself before it reads the first byte that the jail sent: what it can't do
//! any more, nobody can make it do.

mod files;
mod syscalls;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use landlock::RulesetStatus;

/// Why a role isn't confined. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfineError {
    /// Landlock refused the rules.
    #[error("confine the proxy to reading")]
    Files(#[from] landlock::RulesetError),
    /// seccomp refused the filter.
    #[error("confine the system calls")]
    Syscalls(#[from] seccompiler::Error),
    /// The filter isn't one.
    #[error("compile the filter of system calls")]
    Filter(#[from] seccompiler::BackendError),
}

/// Confines the calling thread, and all that it starts from now on: it may read what resolving
/// names and verifying certificates takes, and `also`; it may write to nothing that isn't open yet,
/// bind no TCP port, signal no process outside, start no program, and use no part of the kernel
/// that a proxy has no business with.
///
/// # Errors
///
/// When the kernel refuses; the caller must end then. One that lacks Landlock, or knows an older one
/// only, isn't refusing: it gives the rest, and says so.
pub(crate) fn confine(also: &[PathBuf]) -> Result<Extent, ConfineError> {
    let files = files::restrict(also)?;
    syscalls::restrict()?;
    Ok(match files {
        RulesetStatus::FullyEnforced => Extent::Full,
        RulesetStatus::PartiallyEnforced => Extent::OldLandlock,
        RulesetStatus::NotEnforced => Extent::NoLandlock,
    })
}

/// Confines the calling thread to moving bytes between descriptors that it has: it can't open, make,
/// connect or signal anything.
///
/// # Errors
///
/// When the kernel refuses; the caller must end then.
pub(crate) fn confine_to_streams() -> Result<(), ConfineError> {
    syscalls::restrict_to_streams()
}

/// How much of the confinement the kernel gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    Full,
    /// Landlock before version 6 (Linux 6.12): no bounds on signals and abstract sockets, or less.
    OldLandlock,
    /// The filter of system calls alone.
    NoLandlock,
}
