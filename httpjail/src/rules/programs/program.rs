//! What the user wrote at `--sh` and `--proc`, as something to run.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::{
    fs::{Access, access},
    io::Errno,
};

/// How a program is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// By starting it for each request (`--sh`).
    Script,
    /// Line by line (`--proc`).
    Lines,
}

/// A program that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    kind: Kind,
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    limit: Duration,
}

/// Why a program can't be one. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Nothing, or nothing but space, was given.
    #[error("understand {option}: it names no program")]
    Empty {
        /// The option.
        option: &'static str,
    },
    /// A quote was opened and not closed, or the like.
    #[error("understand --proc: a shell would not take `{0}`: a quote isn't closed")]
    Words(String),
    /// An argument can't be passed on.
    #[error("understand {option}: it holds a NUL character, or isn't UTF-8")]
    NotText {
        /// The option.
        option: &'static str,
    },
}

impl Program {
    /// `--sh SCRIPT`: a program, or, where there is space in it, a script for the shell.
    ///
    /// # Errors
    ///
    /// When it is empty.
    pub fn script(script: &OsStr) -> Result<Self, ProgramError> {
        let bytes = script.as_bytes();
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(ProgramError::Empty { option: "--sh" });
        }
        let is_shells = bytes.iter().any(u8::is_ascii_whitespace);
        let words = match is_shells {
            true => vec!["/bin/sh".into(), "-c".into(), script.to_owned()],
            false => vec![script.to_owned()],
        };
        Self::new(Kind::Script, words, Duration::from_secs(30))
    }

    /// `--proc CMD`: a program and its arguments, quoted as for a shell.
    ///
    /// # Errors
    ///
    /// When it is empty, isn't text or its quotes aren't paired.
    pub fn lines(command: &OsStr) -> Result<Self, ProgramError> {
        let text = command.to_str().ok_or(ProgramError::NotText { option: "--proc" })?;
        let words = shell_words::split(text).map_err(|_| ProgramError::Words(text.to_owned()))?;
        if words.first().is_none_or(String::is_empty) {
            return Err(ProgramError::Empty { option: "--proc" });
        }
        let words = words.into_iter().map(OsString::from).collect();
        Self::new(Kind::Lines, words, Duration::from_secs(5))
    }

    fn new(kind: Kind, words: Vec<OsString>, limit: Duration) -> Result<Self, ProgramError> {
        if words.iter().any(|word| word.as_bytes().contains(&0)) {
            return Err(ProgramError::NotText { option: kind.option() });
        }
        Ok(Self { kind, words, environment: env::vars_os().collect(), limit })
    }

    /// The same program in another environment than httpjail's own.
    #[must_use]
    pub fn with_environment(self, environment: Vec<(OsString, OsString)>) -> Self {
        Self { environment, ..self }
    }

    /// The same program, given up after another time than is usual.
    #[must_use]
    pub fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// How it is asked.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How long it may take for one answer.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// How long a question may wait for its turn and its answer. After that nobody wants it.
    pub(super) fn patience(&self) -> Duration {
        match self.kind {
            Kind::Script => self.limit + Duration::from_secs(5),
            // Twice for a question that comes before, and twice for its own.
            Kind::Lines => self.limit * 4 + Duration::from_secs(10),
        }
    }

    /// What names it: its file, as it was written.
    pub fn name(&self) -> &OsStr {
        self.words.first().map_or(OsStr::new(""), |word| word)
    }

    /// The files that its words name, as far as they are there: whoever may write to one decides.
    pub fn files(&self) -> Vec<PathBuf> {
        let is_file = |path: &PathBuf| path.is_file();
        let program = self.resolve().ok();
        let others = self.words.iter().skip(1).map(PathBuf::from).filter(is_file);
        program.into_iter().chain(others).collect()
    }

    /// The program's file, looked for as the shell does, with the rights of the caller.
    ///
    /// # Errors
    ///
    /// When there is none that may be run.
    pub(super) fn resolve(&self) -> io::Result<PathBuf> {
        let name = self.name();
        if name.as_bytes().contains(&b'/') {
            return runnable(Path::new(name)).map(|()| name.into());
        }
        let path = self.environment.iter().find(|(variable, _)| variable == "PATH");
        let path = path.map_or(OsStr::new(USUAL_PATH), |(_, path)| path);
        let mut refused = io::Error::from(Errno::NOENT);
        for folder in env::split_paths(path) {
            let file = folder.join(name);
            match runnable(&file) {
                Ok(()) => return Ok(file),
                // Where it isn't, or where nobody may look.
                Err(_) if file.symlink_metadata().is_err() => {}
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// The program, ready to be started.
    ///
    /// # Errors
    ///
    /// As [`Program::resolve`].
    pub(super) fn command(&self) -> io::Result<Command> {
        let mut command = Command::new(self.resolve()?);
        command.args(self.words.iter().skip(1)).env_clear();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

impl Kind {
    /// The option that gives such a program.
    pub fn option(self) -> &'static str {
        match self {
            Self::Script => "--sh",
            Self::Lines => "--proc",
        }
    }
}

fn runnable(path: &Path) -> io::Result<()> {
    access(path, Access::EXEC_OK)?;
    match path.is_dir() {
        true => Err(Errno::ISDIR.into()),
        false => Ok(()),
    }
}

/// Where programs are looked for when nothing says where (confstr(3), `_CS_PATH`).
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn words(program: &Program) -> Vec<&str> {
        program.words.iter().map(|word| word.to_str().unwrap()).collect()
    }

    #[test]
    fn a_script_with_space_is_the_shells() {
        for (script, expected) in [
            ("/x/rule.sh", &["/x/rule.sh"][..]),
            ("rule", &["rule"]),
            ("exit 1", &["/bin/sh", "-c", "exit 1"]),
            ("test\t$HTTPJAIL_HOST\n", &["/bin/sh", "-c", "test\t$HTTPJAIL_HOST\n"]),
        ] {
            assert_eq!(words(&Program::script(script.as_ref()).unwrap()), expected);
        }
    }

    #[test]
    fn a_command_is_split_as_a_shell_splits() {
        for (command, expected) in [
            ("rule", &["rule"][..]),
            ("python3 -u f.py", &["python3", "-u", "f.py"]),
            (r#"'/my rules/r.py' --as "a b" c\ d"#, &["/my rules/r.py", "--as", "a b", "c d"]),
            ("rule $HOME *", &["rule", "$HOME", "*"]),
        ] {
            assert_eq!(words(&Program::lines(command.as_ref()).unwrap()), expected);
        }
    }

    #[test]
    fn refuses_what_names_no_program() {
        for nothing in ["", " ", "\n"] {
            Program::script(nothing.as_ref()).unwrap_err();
            Program::lines(nothing.as_ref()).unwrap_err();
        }
        for unclear in ["'a", "a \"b", "'' b"] {
            Program::lines(unclear.as_ref()).unwrap_err();
        }
        let bytes = OsString::from_vec(vec![b'a', 0xff]);
        Program::lines(&bytes).unwrap_err();
        Program::script(&bytes).unwrap();
        Program::script("a\0b".as_ref()).unwrap_err();
    }

    #[test]
    fn finds_a_program_in_the_path_and_says_why_not() {
        let path = |path: &str| vec![(OsString::from("PATH"), OsString::from(path))];
        let found = |name: &str, folders| {
            Program::script(name.as_ref()).unwrap().with_environment(path(folders)).resolve()
        };
        assert_eq!(found("sh", "/nowhere:/bin").unwrap(), Path::new("/bin/sh"));
        assert_eq!(found("sh", "/nowhere").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(found("passwd", "/etc").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(found("/etc", "").unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(found("/bin/none", "").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
