//! The rule's `console`, brought to the log.

use std::fmt::{self, Write};

use tracing::{Level, event};

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

/// Text that a jailed program had a hand in, fit for a terminal: control and direction
/// characters are escaped, and what is too long is cut.
pub(super) struct Printable<'a>(pub(super) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, c) in self.0.char_indices() {
            if at >= LONGEST {
                return write!(f, "… ({} bytes more)", self.0.len() - at);
            }
            if is_printable(c) {
                f.write_char(c)?;
            } else {
                write!(f, "{}", c.escape_unicode())?;
            }
        }
        Ok(())
    }
}

/// Neither a control character nor one that changes the direction or the extent of other text.
fn is_printable(c: char) -> bool {
    let steers = matches!(
        c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    !c.is_control() && !steers
}

const TARGET: &str = "httpjail::rules::js";
const LONGEST: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        for (text, printed) in [
            ("plain text, ö €", "plain text, ö €"),
            ("a\nb\r\tc", "a\\u{a}b\\u{d}\\u{9}c"),
            ("\u{1b}[31m\u{9b}\u{7f}\0", "\\u{1b}[31m\\u{9b}\\u{7f}\\u{0}"),
            ("\u{202e}gnp.exe", "\\u{202e}gnp.exe"),
        ] {
            assert_eq!(Printable(text).to_string(), printed);
        }
    }

    #[test]
    fn cuts_what_is_too_long() {
        let text = "x".repeat(LONGEST + 5);
        assert!(Printable(&text).to_string().ends_with("x… (5 bytes more)"));
        assert_eq!(Printable(&text[5..]).to_string(), text[5..]);
    }
}
