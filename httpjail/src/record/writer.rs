//! Batches of whole lines onto a file that may refuse them.

use std::io;

/// Writes batches, and keeps lines whole: after a write that stopped within a line, the next
/// batch starts on a new one.
pub(super) struct Writer<W> {
    out: W,
    /// What it is called in a sentence.
    name: &'static str,
    torn: bool,
    failing: bool,
}

impl<W: io::Write> Writer<W> {
    pub(super) fn new(out: W, name: &'static str) -> Self {
        Self { out, name, torn: false, failing: false }
    }

    /// Writes `batch`, whole lines; returns how many of them are lost.
    pub(super) fn write(&mut self, batch: &[u8]) -> u64 {
        if self.torn {
            match self.out.write_all(b"\n") {
                Ok(()) => self.torn = false,
                Err(error) => return self.lose(batch, batch, &error),
            }
        }
        let mut rest = batch;
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return self.lose(batch, rest, &io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.lose(batch, rest, &error),
            }
        }
        self.failing = false;
        0
    }

    /// Counts what was not written; says so once for each time that it begins.
    fn lose(&mut self, batch: &[u8], rest: &[u8], error: &io::Error) -> u64 {
        let written = batch.len() - rest.len();
        self.torn |= written > 0 && batch.get(written - 1) != Some(&b'\n');
        if !self.failing {
            tracing::warn!(%error, "{} can't be written", self.name);
        }
        self.failing = true;
        rest.iter().map(|&byte| u64::from(byte == b'\n')).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes of each write in turn; an error where there is none.
    struct Scripted {
        takes: Vec<Option<usize>>,
        got: Vec<u8>,
    }

    impl io::Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let take = if self.takes.is_empty() { Some(usize::MAX) } else { self.takes.remove(0) };
            let n = take.ok_or(io::ErrorKind::StorageFull)?.min(bytes.len());
            self.got.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn writer(takes: &[Option<usize>]) -> Writer<Scripted> {
        Writer::new(Scripted { takes: takes.to_vec(), got: Vec::new() }, "the request log")
    }

    #[test]
    fn goes_on_after_a_short_write() {
        let mut out = writer(&[Some(1), Some(3)]);
        assert_eq!(out.write(b"one\ntwo\n"), 0);
        assert_eq!(out.out.got, b"one\ntwo\n");
    }

    #[test]
    fn counts_the_lines_that_a_full_disk_refused() {
        let mut out = writer(&[None, Some(4), None, Some(6), None]);
        assert_eq!(out.write(b"a\nb\n"), 2);
        assert_eq!(out.write(b"one\ntwo\n"), 1);
        assert_eq!(out.write(b"one\ntwo\n"), 1);
        assert_eq!(out.write(b"end\n"), 0);
        assert_eq!(out.out.got, b"one\none\ntw\nend\n");
    }

    #[test]
    fn starts_a_new_line_only_once() {
        let mut out = writer(&[Some(1), None, None, Some(1), None]);
        assert_eq!(out.write(b"one\n"), 1);
        assert_eq!(out.write(b"two\n"), 1);
        assert_eq!(out.write(b"three\n"), 1);
        assert_eq!(out.write(b"four\n"), 0);
        assert_eq!(out.out.got, b"o\nfour\n");
    }
}
