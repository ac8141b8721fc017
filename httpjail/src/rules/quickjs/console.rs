//! The rule's `console`, brought to the log.

use tracing::{Level, event};

use crate::rules::warnings::Printable;

/// Writes what the rule said. `level` is the prelude's number for the method that was called.
pub(super) fn log(level: u8, text: &str) {
    let text = Printable(text);
    match level {
        0 => event!(target: TARGET, Level::DEBUG, "{text}"),
        1 => event!(target: TARGET, Level::INFO, "{text}"),
        2 => event!(target: TARGET, Level::WARN, "{text}"),
        _ => event!(target: TARGET, Level::ERROR, "{text}"),
    }
}

const TARGET: &str = "httpjail::rules::js";
