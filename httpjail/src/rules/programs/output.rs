//! What a rule's program says on its standard error, brought to the log.

use std::{cell::RefCell, rc::Rc};

use tokio::{io::AsyncReadExt, net::unix::pipe::Receiver};

use crate::rules::warnings::Printable;

/// A line that is longer is cut into several.
const LONGEST: usize = 8192;

/// The last line, which mostly says why a program ended.
#[derive(Clone, Debug, Default)]
pub(super) struct LastLine(Rc<RefCell<String>>);

impl LastLine {
    /// What it was, so far.
    pub(super) fn text(&self) -> String {
        self.0.borrow().clone()
    }

    fn set(&self, line: &str) {
        line.clone_into(&mut self.0.borrow_mut());
    }
}

/// Logs what comes, line by line, until the end.
pub(super) async fn log(mut stderr: Receiver, last: LastLine) {
    let mut bytes = Vec::new();
    while let Ok(1..) = stderr.read_buf(&mut bytes).await {
        let mut taken = 0;
        while let Some(length) = line_length(bytes.get(taken..).unwrap_or_default()) {
            let line = bytes.get(taken..taken + length).unwrap_or_default();
            say(line, &last);
            taken += length;
        }
        bytes.drain(..taken);
    }
    say(&bytes, &last);
}

/// How many bytes the first line has, with its end, if it is whole or long enough.
fn line_length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    end.filter(|end| *end <= LONGEST).or_else(|| (bytes.len() >= LONGEST).then_some(LONGEST))
}

/// Logs one line.
pub(super) fn say(line: &[u8], last: &LastLine) {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end();
    if !line.is_empty() {
        tracing::info!(target: TARGET, "{}", Printable(line));
        last.set(line);
    }
}

const TARGET: &str = "httpjail::rules::program";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_whole_or_in_pieces() {
        assert_eq!(line_length(b""), None);
        assert_eq!(line_length(b"abc"), None);
        assert_eq!(line_length(b"abc\ndef\n"), Some(4));
        let mut long = vec![b'x'; LONGEST];
        assert_eq!(line_length(&long), Some(LONGEST));
        long.extend(b"x\n");
        assert_eq!(line_length(&long), Some(LONGEST));
    }
}
