//! Why a rule could not be taken.

use std::{io, path::PathBuf};

/// A rule that can't be used; nothing is run then.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The rule isn't JavaScript.
    #[error("compile the rule: syntax error in {name} at line {line}, column {column}: {message}")]
    Syntax {
        /// Where the rule came from, as the user knows it: `--js` or a file.
        name: String,
        /// Line of the error, from 1.
        line: u32,
        /// Column of the error, from 1.
        column: u32,
        /// What the engine says.
        message: String,
    },
    /// The rule file can't be read.
    #[error("read the rule file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The rule file is longer than any rule.
    #[error("read the rule file {}: it is longer than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// The rule isn't text.
    #[error("read the rule {name}: it is not UTF-8 text")]
    NotText {
        /// Where the rule came from.
        name: String,
    },
    /// The rule holds a NUL, at which the engine would stop reading.
    #[error("compile the rule: {name} holds a NUL character")]
    Nul {
        /// Where the rule came from.
        name: String,
    },
    /// The engine could not be set up.
    #[error("start the rule engine: {reason}")]
    Engine {
        /// What the engine says.
        reason: String,
    },
}
