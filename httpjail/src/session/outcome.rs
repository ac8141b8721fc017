//! How a run ended, whatever system it was on.

/// How the command ended, for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It exited with this status.
    Exited(u8),
    /// It died of this signal.
    Signalled(u8),
    /// `--timeout` killed it.
    TimedOut,
}

/// Why what the user names could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unstarted {
    /// There is no such command.
    NotFound,
    /// The command can't be executed.
    NotRunnable,
    /// The rule's program can't be run.
    NoRule,
}

/// What a clean-up did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Dead runs whose remains were removed.
    pub runs: usize,
    /// Parents removed with their programs and rules.
    pub parents: usize,
}
