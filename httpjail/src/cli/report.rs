//! What httpjail tells the user when it can't go on.

use std::{error::Error, fmt};

/// An error as a person reads it: what failed, why, and what to do about it.
pub(super) struct Report<'a> {
    error: &'a dyn Error,
    hint: Option<String>,
}

impl<'a> Report<'a> {
    /// Tells about `error`, whose `Display` completes "failed to ...".
    pub(super) fn new(error: &'a dyn Error) -> Self {
        Self { error, hint: None }
    }

    /// Adds what the user can do about it.
    pub(super) fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "httpjail: failed to {}", self.error)?;
        let mut cause = self.error.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n\nhint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::session::SessionError;

    #[test]
    fn names_the_step_then_its_causes() {
        let error = SessionError::CommandNotFound {
            command: "nope".into(),
            source: io::Error::from_raw_os_error(2),
        };
        insta::assert_snapshot!(
            Report::new(&error),
            @"httpjail: failed to find the command `nope`: No such file or directory (os error 2)"
        );
    }

    #[test]
    fn sets_the_hint_apart() {
        let report = Report::new(&SessionError::Unsupported);
        insta::assert_snapshot!(report.with_hint(Some("use sudo".to_owned())), @r"
        httpjail: failed to make a jail: no backend is built in for this system

        hint: use sudo
        ");
    }
}
