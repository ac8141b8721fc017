//! Where a rule's text comes from.

use std::{fs::File, io::Read, path::Path};

use super::RuleError;

/// The most bytes that a rule may have; generated lists of hosts fit many times over.
const MAX_RULE_BYTES: u64 = 4 << 20;

/// A rule's text, and what to call it in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSource {
    name: String,
    text: String,
}

impl RuleSource {
    /// A rule from the command line.
    pub fn inline(code: String) -> Self {
        Self { name: "--js".to_owned(), text: code }
    }

    /// A rule from a file, which is read here, once.
    ///
    /// # Errors
    ///
    /// [`RuleError`] when the file can't be read, is too large or isn't UTF-8.
    pub fn file(path: &Path) -> Result<Self, RuleError> {
        let failed = |source| RuleError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(MAX_RULE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_RULE_BYTES {
            return Err(RuleError::TooLarge { path: path.to_owned(), limit: MAX_RULE_BYTES });
        }
        let text =
            String::from_utf8(bytes).map_err(|_| RuleError::NotText { path: path.to_owned() })?;
        Ok(Self { name: path.display().to_string(), text })
    }

    /// What to call it in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of the rule.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_file_and_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rule.js");
        std::fs::write(&path, "true // ✓").unwrap();
        let source = RuleSource::file(&path).unwrap();
        assert_eq!(source.text(), "true // ✓");
        assert_eq!(source.name(), path.display().to_string());
    }

    #[test]
    fn says_why_a_file_is_no_rule() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rule.js");
        assert!(matches!(RuleSource::file(&path), Err(RuleError::Read { .. })));
        assert!(matches!(RuleSource::file(dir.path()), Err(RuleError::Read { .. })));
        std::fs::write(&path, b"\xff").unwrap();
        assert!(matches!(RuleSource::file(&path), Err(RuleError::NotText { .. })));
        std::fs::write(&path, vec![b' '; MAX_RULE_BYTES as usize + 1]).unwrap();
        assert!(matches!(RuleSource::file(&path), Err(RuleError::TooLarge { .. })));
    }

    #[test]
    fn reads_no_more_than_the_limit_of_an_endless_file() {
        let source = RuleSource::file(Path::new("/dev/zero"));
        assert!(matches!(source, Err(RuleError::TooLarge { .. })));
    }
}
