//! Exit codes: the command's own passes through, and what httpjail says with its own.

use std::process::ExitCode;

use crate::session::{Outcome, SessionError, Unstarted};

/// All went well; `--test`: the request would be allowed; `doctor`: every mandatory guard holds;
/// `trust`: all is as it is wished.
pub const OK: u8 = 0;
/// `--test`: the request would be denied; `doctor`: a mandatory guard is missing or unknown; `trust`: the
/// system's trust isn't as it is wished.
pub const DENIED: u8 = 1;
/// Wrong usage, or a rule that isn't one.
pub const USAGE: u8 = 2;
/// `--timeout` ran out, and the command was killed.
pub const TIMEOUT: u8 = 124;
/// httpjail itself failed.
pub const FAILED: u8 = 125;
/// The command was found but can't be run.
pub const NOT_RUNNABLE: u8 = 126;
/// There is no such command.
pub const NOT_FOUND: u8 = 127;
/// Added to the number of the signal that ended the command.
pub const SIGNALLED: u8 = 128;

/// The code that tells how a run ended.
pub(super) fn of_outcome(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Exited(code) => code,
        Outcome::Signalled(signal) => SIGNALLED.saturating_add(signal),
        Outcome::TimedOut => TIMEOUT,
    }
}

/// The code that tells why there was no run.
pub(super) fn of_error(error: &SessionError) -> u8 {
    match error.unstarted() {
        Some(Unstarted::NotFound) => NOT_FOUND,
        Some(Unstarted::NotRunnable) => NOT_RUNNABLE,
        Some(Unstarted::NoRule) => USAGE,
        None => FAILED,
    }
}

/// Hands a code to the caller.
pub(super) fn code(code: u8) -> ExitCode {
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use std::io;

    use super::*;
    #[cfg(target_os = "linux")]
    use crate::backend::linux::spawn::SpawnError;

    #[test]
    fn passes_the_commands_own_code_through() {
        for own in [0, 1, 42, 124, 255] {
            assert_eq!(of_outcome(Outcome::Exited(own)), own);
        }
    }

    #[test]
    fn tells_signals_and_the_timeout_as_shells_do() {
        assert_eq!(of_outcome(Outcome::Signalled(9)), 137);
        assert_eq!(of_outcome(Outcome::Signalled(15)), 143);
        assert_eq!(of_outcome(Outcome::Signalled(u8::MAX)), 255);
        assert_eq!(of_outcome(Outcome::TimedOut), 124);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn tells_a_missing_command_from_one_that_cannot_be_run() {
        let source = io::Error::from(io::ErrorKind::PermissionDenied);
        let missing = SpawnError::NotFound("x".into());
        let broken = SpawnError::NotExecutable { command: "x".into(), source };
        assert_eq!(of_error(&missing.into()), 127);
        assert_eq!(of_error(&broken.into()), 126);
        assert_eq!(of_error(&SessionError::ProxyDied), 125);
    }
}
