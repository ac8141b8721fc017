//! What `--test` may be told about a request besides its URL, and how it names what decided.

use std::{fmt, io, path::Path, str::FromStr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    policy::{Headers, Listed, Process, ProcessDetails, ProcessInspector, RequestFacts, RunFacts},
    rules::Rules,
};

/// The kernel's names of threads are no longer.
const COMM_BYTES: usize = 15;

/// `--header 'Name: value'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderField(HeaderName, HeaderValue);

/// `--process EXE`: the path of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(String);

/// Why the value of such an option was not understood; completes "invalid value: ...".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// No field.
    #[error("expected 'NAME: VALUE', such as 'Accept: text/html'")]
    Field,
    /// No path.
    #[error("expected the whole path of a program, such as /usr/bin/git")]
    Program,
}

/// What `--header` and `--process` say.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The header fields.
    pub headers: Vec<HeaderField>,
    /// The program that connects.
    pub program: Option<Program>,
}

impl FromStr for HeaderField {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Self, QuestionError> {
        let (name, value) = text.split_once(':').ok_or(QuestionError::Field)?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| QuestionError::Field)?;
        let value = value.trim_matches([' ', '\t']).as_bytes();
        let value = HeaderValue::from_bytes(value).map_err(|_| QuestionError::Field)?;
        Ok(Self(name, value))
    }
}

impl FromStr for Program {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Self, QuestionError> {
        let is_whole = text.starts_with('/') && Path::new(text).file_name().is_some();
        if is_whole { Ok(Self(text.to_owned())) } else { Err(QuestionError::Program) }
    }
}

impl Told {
    /// Puts it into the facts of a request.
    pub(super) fn fill(&self, facts: &mut RequestFacts) {
        let mut headers = HeaderMap::new();
        for HeaderField(name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        facts.headers = Headers::from(headers);
        facts.process = self.program.as_ref().map(Program::process);
    }

    /// What is known of the run in which it is asked: there is none, but a program may be.
    pub(super) fn run(self) -> RunFacts {
        match self.program {
            Some(program) => RunFacts { jail: None, processes: Arc::new(program) },
            None => RunFacts::default(),
        }
    }
}

impl Program {
    /// The caller's own process, as if it ran this program.
    fn process(&self) -> Process {
        let name = self.0.rsplit('/').find(|name| !name.is_empty()).unwrap_or_default();
        let comm = &name.as_bytes()[..name.len().min(COMM_BYTES)];
        Process {
            pid: std::process::id(),
            uid: rustix::process::getuid().as_raw(),
            comm: String::from_utf8_lossy(comm).into_owned(),
        }
    }
}

impl ProcessInspector for Program {
    fn executable(&self, _pid: u32) -> io::Result<Option<String>> {
        Ok(Some(self.0.clone()))
    }

    fn details(&self, _pid: u32) -> io::Result<Option<ProcessDetails>> {
        let ppid = std::os::unix::process::parent_id();
        Ok(Some(ProcessDetails { exe: self.0.clone(), ppid, argv: vec![self.0.clone()] }))
    }
}

/// What decides about a request, as the user knows it.
pub(super) struct Decider<'a> {
    pub(super) listed: Option<Listed<'a>>,
    pub(super) rules: &'a Rules,
}

impl fmt::Display for Decider<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.listed, self.rules) {
            (Some(Listed::Allowed(pattern)), _) => write!(f, "--allow '{pattern}'"),
            (Some(Listed::Denied(pattern)), _) => write!(f, "--deny '{pattern}'"),
            (None, Rules::Absent) => f.write_str("default: there is no rule"),
            (None, Rules::QuickJs(js)) => write!(f, "the rule of {}", js.name()),
            (None, Rules::Program(_) | Rules::Linked(_)) => f.write_str("the rule's program"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_a_name_and_a_value() {
        let field = |text: &str| {
            text.parse().map(|HeaderField(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
        };
        for (text, name, value) in [
            ("Accept: text/html", "accept", "text/html"),
            ("a:b:c", "a", "b:c"),
            ("a:", "a", ""),
            ("a: \tü ", "a", "ü"),
        ] {
            assert_eq!(field(text), Ok((name.to_owned(), value.to_owned())), "{text:?}");
        }
        for text in ["", "a", ": b", "a b: c", "a : b", "a: b\r\nc: d", "a: \0"] {
            assert_eq!(field(text), Err(QuestionError::Field), "{text:?}");
        }
    }

    #[test]
    fn programs_have_whole_paths_and_short_names() {
        for text in ["", "git", "./git", "/", "/usr/.."] {
            assert_eq!(text.parse::<Program>(), Err(QuestionError::Program), "{text:?}");
        }
        for (text, comm) in [
            ("/usr/bin/git", "git"),
            ("/usr/lib/git/git-remote-https", "git-remote-http"),
            ("/bin/x/", "x"),
        ] {
            assert_eq!(text.parse::<Program>().map(|it| it.process().comm).as_deref(), Ok(comm));
        }
    }
}
