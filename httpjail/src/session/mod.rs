//! One run, from its plan to its outcome.

use std::{ffi::OsString, io};

use crate::cli::plan::RunPlan;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It exited with this code.
    Exited(u8),
    /// This signal ended it.
    Signalled(u8),
    /// It was killed when its time was over.
    TimedOut,
}

/// Why there was no run; completes "failed to ...".
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is no such command.
    #[error("find the command `{}`", command.display())]
    CommandNotFound {
        /// As given.
        command: OsString,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is one, and it can't be executed.
    #[error("run the command `{}`", command.display())]
    CommandNotRunnable {
        /// As given.
        command: OsString,
        /// What the kernel said.
        source: io::Error,
    },
    /// No backend on this system can make a jail.
    #[error("make a jail: no backend is built in for this system")]
    Unsupported,
}

impl SessionError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::CommandNotFound { .. } | Self::CommandNotRunnable { .. } => None,
            Self::Unsupported => Some("--test asks the rule without a jail".to_owned()),
        }
    }
}

/// Runs the command of `plan` in a jail of its own.
///
/// # Errors
///
/// [`SessionError`]: nothing was run, and nothing is left behind.
pub fn run(_plan: RunPlan) -> Result<Outcome, SessionError> {
    Err(SessionError::Unsupported)
}

/// Removes what dead runs left, and with `all` what stays between runs too.
///
/// # Errors
///
/// [`SessionError`] when something is there and can't be removed.
pub fn cleanup(_all: bool) -> Result<(), SessionError> {
    Err(SessionError::Unsupported)
}
