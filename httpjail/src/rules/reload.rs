//! Takes up changes of the rule's file while requests are judged.

use std::{fs::File, io, os::unix::fs::MetadataExt, path::PathBuf};

use super::{Js, Replaced, RuleError, RuleSource};

/// Puts what a file holds in the place of a rule, in all its engines.
#[derive(Debug)]
pub struct Reload {
    rule: Js,
    path: PathBuf,
    /// What was said last about a file that is no rule.
    complaint: Option<String>,
}

impl Reload {
    /// For `rule`, which came from the file at `path`.
    pub fn new(rule: Js, path: PathBuf) -> Self {
        Self { rule, path, complaint: None }
    }

    /// Reads the file, and says what came of it. One that is no rule leaves the rule as it is.
    pub fn read(&mut self, file: File) {
        match self.replace(file) {
            Ok(Some(Replaced::New)) => {
                self.complaint = None;
                tracing::info!("the rule was read anew from {}", self.path.display());
            }
            Ok(Some(Replaced::Same) | None) => {}
            Err(error) => self.complain(&error),
        }
    }

    /// `None` if the file is being written: it will be told of again. Whoever writes it in place
    /// empties it first.
    fn replace(&self, file: File) -> Result<Option<Replaced>, RuleError> {
        let failed = |source| RuleError::Read { path: self.path.clone(), source };
        let before = state(&file).map_err(failed)?;
        if before.0 == 0 {
            return Ok(None);
        }
        let again = file.try_clone().map_err(failed)?;
        let source = RuleSource::opened(&self.path, file)?;
        if state(&again).map_err(failed)? != before {
            return Ok(None);
        }
        self.rule.replace(source).map(Some)
    }

    fn complain(&mut self, error: &RuleError) {
        let complaint = match std::error::Error::source(error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        };
        if self.complaint.as_ref() != Some(&complaint) {
            tracing::warn!("the rule stays as it is: failed to {complaint}");
            self.complaint = Some(complaint);
        }
    }
}

/// What changes when a file is written.
fn state(file: &File) -> io::Result<(u64, i64, i64)> {
    let about = file.metadata()?;
    Ok((about.size(), about.mtime(), about.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::policy::EngineFactory;

    #[test]
    fn a_file_that_is_no_rule_leaves_the_rule_as_it_is() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("rule.js");
        let rule = Js::compile("rule.js", "r.scheme === 'tcp'").expect("the rule compiles");
        let engine = rule.engine();
        let mut reload = Reload::new(rule, path.clone());
        let mut read = |text: &[u8]| {
            fs::write(&path, text).expect("writable");
            reload.read(File::open(&path).expect("readable"));
            (engine.may_open_tcp(), reload.complaint.clone())
        };
        let (knows_tcp, complaint) = read(b"'tcp' ===");
        assert!(knows_tcp && complaint.is_some_and(|it| it.contains("line 1")));
        assert!(read(b"\xff").1.is_some_and(|it| it.contains("UTF-8")));
        assert_eq!(read(b"true"), (false, None));
    }
}
