//! Why a rule can't be used.

use std::{io, path::PathBuf};

/// Why a rule can't be used; completes "failed to ...". Found at the start, before anything runs.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The file can't be read.
    #[error("read the rule file `{}`", path.display())]
    Read {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than any rule has to be.
    #[error("read the rule file `{}`: it's larger than {limit} bytes", path.display())]
    TooLarge {
        /// As given.
        path: PathBuf,
        /// The most bytes that a rule may have.
        limit: u64,
    },
    /// The file isn't text.
    #[error("read the rule file `{}`: it isn't UTF-8", path.display())]
    NotText {
        /// As given.
        path: PathBuf,
    },
    /// The text is no JavaScript.
    #[error("compile the rule: syntax error in {name} at line {line}, column {column}: {message}")]
    Syntax {
        /// Where the rule comes from: `--js` or the file's name.
        name: String,
        /// Counted from one.
        line: u32,
        /// Counted from one.
        column: u32,
        /// What the engine said.
        message: String,
    },
    /// The engine can't hold it.
    #[error("compile the rule: {message}")]
    Engine {
        /// What the engine said.
        message: String,
    },
}
