//! What the keeper tells the proxy at the end: two bytes. End of file without them: it was killed.

use std::{ffi::OsString, io};

use super::MacError;
use crate::{backend::macos::Open, session::Outcome};

/// How the run ended, as the keeper saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The command ended so.
    Ended(Outcome),
    /// The command has ended, and something that it started is left.
    Left,
    /// It was not started, for this error.
    Unstarted(u8),
}

impl Report {
    pub(super) fn encode(self) -> [u8; 2] {
        match self {
            Self::Ended(Outcome::Exited(code)) => [b'e', code],
            Self::Ended(Outcome::Signalled(signal)) => [b's', signal],
            Self::Ended(Outcome::TimedOut) => [b't', 0],
            Self::Left => [b'l', 0],
            Self::Unstarted(errno) => [b'u', errno],
        }
    }

    pub(super) fn decode([kind, value]: [u8; 2]) -> Option<Self> {
        match kind {
            b'e' => Some(Self::Ended(Outcome::Exited(value))),
            b's' => Some(Self::Ended(Outcome::Signalled(value))),
            b't' => Some(Self::Ended(Outcome::TimedOut)),
            b'l' => Some(Self::Left),
            b'u' => Some(Self::Unstarted(value)),
            _ => None,
        }
    }

    /// The run's result.
    pub(super) fn into_result(self, command: OsString) -> Result<Outcome, MacError> {
        let errno = match self {
            Self::Ended(outcome) => return Ok(outcome),
            Self::Left => return Err(MacError::Left),
            Self::Unstarted(errno) => i32::from(errno),
        };
        Err(match (Open::of(errno), errno) {
            (Some(open), _) => MacError::Open(open),
            (None, libc::ENOENT) => MacError::NotFound(command),
            (None, errno) => {
                let source = io::Error::from_raw_os_error(errno);
                MacError::NotExecutable { command, source }
            }
        })
    }
}
