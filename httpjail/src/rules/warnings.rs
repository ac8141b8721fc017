//! What users are told about their rules, and how often.

use std::{
    fmt::{self, Write},
    time::{Duration, Instant},
};

use tracing::warn;

/// Gives warnings, some of them each second.
#[derive(Debug, Default)]
pub(super) struct Warnings(Allowance);

impl Warnings {
    /// Tells `what` happened, with a detail that a jailed program may have had a hand in.
    pub(super) fn warn(&mut self, what: &'static str, detail: &str) {
        match self.0.take(Instant::now()) {
            None => {}
            Some(0) => warn!("{what}: {}", Printable(detail)),
            Some(suppressed) => warn!(suppressed, "{what}: {}", Printable(detail)),
        }
    }
}

/// How many warnings may still be given this second: a jailed program that sends requests in a
/// loop must not flood the terminal.
#[derive(Debug, Default)]
struct Allowance {
    since: Option<Instant>,
    given: u32,
    suppressed: u32,
}

impl Allowance {
    /// Whether to warn now; then, how many warnings were held back before this one.
    fn take(&mut self, now: Instant) -> Option<u32> {
        let is_over =
            self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1));
        if is_over {
            self.since = Some(now);
            self.given = 0;
        }
        if self.given == PER_SECOND {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.given += 1;
        Some(std::mem::take(&mut self.suppressed))
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

const PER_SECOND: u32 = 10;
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

    #[test]
    fn warns_some_times_a_second_and_counts_the_rest() {
        let (mut allowance, start) = (Allowance::default(), Instant::now());
        for _ in 0..PER_SECOND {
            assert_eq!(allowance.take(start), Some(0));
        }
        assert_eq!(allowance.take(start), None);
        assert_eq!(allowance.take(start + Duration::from_millis(999)), None);
        assert_eq!(allowance.take(start + Duration::from_secs(1)), Some(2));
        assert_eq!(allowance.take(start + Duration::from_secs(1)), Some(0));
    }
}
