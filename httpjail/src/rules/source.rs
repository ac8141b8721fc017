//! Where a rule's text comes from.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::RuleError;

/// The text of a rule and the name under which errors speak of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSource {
    name: String,
    text: String,
}

impl RuleSource {
    /// A rule from elsewhere.
    pub fn new(name: &str, text: &str) -> Self {
        Self { name: name.to_owned(), text: text.to_owned() }
    }

    /// A rule given on the command line (`--js`).
    ///
    /// # Errors
    ///
    /// [`RuleError::NotText`] when the argument isn't UTF-8.
    pub fn inline(code: OsString) -> Result<Self, RuleError> {
        let name = INLINE.to_owned();
        match code.into_string() {
            Ok(text) => Ok(Self { name, text }),
            Err(_) => Err(RuleError::NotText { name }),
        }
    }

    /// Reads a rule from a file (`--js-file`).
    ///
    /// # Errors
    ///
    /// When the file can't be read, isn't text, or is longer than 1 MiB.
    pub fn file(path: &Path) -> Result<Self, RuleError> {
        let file = File::open(path)
            .map_err(|source| RuleError::Read { path: PathBuf::from(path), source })?;
        Self::opened(path, file)
    }

    /// Reads a rule from an open file; `path` is how errors speak of it.
    ///
    /// # Errors
    ///
    /// As for [`RuleSource::file`].
    pub fn opened(path: &Path, file: File) -> Result<Self, RuleError> {
        let read = |source| RuleError::Read { path: PathBuf::from(path), source };
        if file.metadata().map_err(read)?.is_dir() {
            return Err(read(io::ErrorKind::IsADirectory.into()));
        }
        let mut bytes = Vec::new();
        file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 > FILE_LIMIT {
            return Err(RuleError::TooLong { path: path.into(), limit: FILE_LIMIT });
        }
        let name = path.display().to_string();
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { name, text }),
            Err(_) => Err(RuleError::NotText { name }),
        }
    }

    /// How errors speak of the rule: `--js`, or the file's path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rule itself.
    pub fn text(&self) -> &str {
        &self.text
    }
}

const INLINE: &str = "--js";
/// A rule is written by hand; whatever is longer than this is the wrong file.
const FILE_LIMIT: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::ffi::OsStringExt};

    use super::*;

    #[test]
    fn reads_a_file_whole() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("rule.js");
        fs::write(&path, "// ö\ntrue\n").expect("writable");
        let source = RuleSource::file(&path).expect("readable");
        assert_eq!(source.text(), "// ö\ntrue\n");
        assert_eq!(source.name(), path.display().to_string());
    }

    #[test]
    fn refuses_what_is_no_rule_file() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("rule.js");
        assert!(matches!(RuleSource::file(&path), Err(RuleError::Read { .. })));
        assert!(matches!(RuleSource::file(dir.path()), Err(RuleError::Read { .. })));
        fs::write(&path, b"\xff").expect("writable");
        assert!(matches!(RuleSource::file(&path), Err(RuleError::NotText { .. })));
        fs::write(&path, vec![b' '; FILE_LIMIT as usize + 1]).expect("writable");
        assert!(matches!(RuleSource::file(&path), Err(RuleError::TooLong { .. })));
        fs::write(&path, vec![b' '; FILE_LIMIT as usize]).expect("writable");
        assert!(RuleSource::file(&path).is_ok());
    }

    #[test]
    fn refuses_an_argument_that_is_not_text() {
        let code = OsString::from_vec(vec![b'1', 0xff]);
        assert!(matches!(RuleSource::inline(code), Err(RuleError::NotText { .. })));
    }
}
