//! The program to execute: every path it may be at, its arguments and environment, in the form
//! that `execve` takes.

use std::{
    ffi::{CStr, CString, OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    ptr,
};

use super::SpawnError;

/// Where programs are looked for when the environment has no PATH (`confstr(_CS_PATH)`).
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// What runs a file that is executable and has no format that the kernel knows.
const SHELL: &CStr = c"/bin/sh";

/// All that the child needs for its `execve` calls; the pointers lead into the strings beside
/// them, which nobody changes.
pub(super) struct Image {
    candidates: Vec<CString>,
    argv: Vec<*const libc::c_char>,
    /// `/bin/sh`, a place for the script's path, then the arguments.
    script_argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    _strings: Vec<CString>,
}

impl Image {
    /// Prepares `command` to be executed with `environment`, by whose PATH it is looked for.
    pub(super) fn new(
        command: &OsStr,
        args: &[OsString],
        environment: &[(OsString, OsString)],
    ) -> Result<Self, SpawnError> {
        let path = environment.iter().rfind(|(name, _)| name == "PATH");
        let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_bytes());
        let candidates = candidates(command.as_bytes(), path)?;

        let mut arguments = vec![c_string(command.as_bytes().to_vec())?];
        for arg in args {
            arguments.push(c_string(arg.as_bytes().to_vec())?);
        }
        let mut variables = Vec::with_capacity(environment.len());
        for (name, value) in environment {
            variables.push(c_string([name.as_bytes(), b"=", value.as_bytes()].concat())?);
        }
        let argv = pointers(&arguments);
        let script_argv = [&[SHELL.as_ptr()], argv.as_slice()].concat();
        let envp = pointers(&variables);
        let strings = arguments.into_iter().chain(variables).collect();
        Ok(Self { candidates, argv, script_argv, envp, _strings: strings })
    }

    /// Becomes the first candidate that can be executed. Returns `errno` when there is none: as
    /// shells do, the one of a file that is there before "not found".
    ///
    /// Async-signal-safe.
    pub(super) fn execute(&mut self) -> i32 {
        let mut denied = false;
        for candidate in &self.candidates {
            match execve(candidate, &self.argv, &self.envp) {
                libc::EACCES => denied = true,
                libc::ENOEXEC => {
                    if let Some(script) = self.script_argv.get_mut(1) {
                        *script = candidate.as_ptr();
                    }
                    return execve(SHELL, &self.script_argv, &self.envp);
                }
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                errno => return errno,
            }
        }
        if denied { libc::EACCES } else { libc::ENOENT }
    }

    #[cfg(test)]
    pub(super) fn candidates(&self) -> &[CString] {
        &self.candidates
    }
}

/// Returns only when the call failed, with `errno`.
fn execve(path: &CStr, argv: &[*const libc::c_char], envp: &[*const libc::c_char]) -> libc::c_int {
    // SAFETY: both arrays end with a null pointer, and all their other pointers lead to
    // NUL-terminated strings that live as long as the image (or forever).
    unsafe {
        libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr());
        *libc::__errno_location()
    }
}

/// The paths at which `command` may be, in order: itself if it has a slash, else below each
/// directory of `path`, where an empty one means the current directory.
fn candidates(command: &[u8], path: &[u8]) -> Result<Vec<CString>, SpawnError> {
    if command.is_empty() {
        return Ok(Vec::new());
    }
    if command.contains(&b'/') {
        return Ok(vec![c_string(command.to_vec())?]);
    }
    path.split(|&byte| byte == b':')
        .map(|directory| match directory {
            [] => c_string([b"./", command].concat()),
            _ => c_string([directory, b"/", command].concat()),
        })
        .collect()
}

fn c_string(bytes: Vec<u8>) -> Result<CString, SpawnError> {
    CString::new(bytes).map_err(|error| SpawnError::Nul(OsString::from_vec(error.into_vec())))
}

/// Pointers to the strings, and a null pointer at the end.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(command: &str, path: Option<&str>) -> Vec<String> {
        let environment: Vec<_> =
            path.map(|path| ("PATH".into(), path.into())).into_iter().collect();
        let image = Image::new(command.as_ref(), &[], &environment).unwrap();
        image.candidates().iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn looks_for_a_command_as_shells_do() {
        let table: [(&str, Option<&str>, &[&str]); 8] = [
            ("ls", Some("/usr/bin:/bin"), &["/usr/bin/ls", "/bin/ls"]),
            ("ls", None, &["/bin/ls", "/usr/bin/ls"]),
            ("ls", Some(""), &["./ls"]),
            ("ls", Some("/bin:"), &["/bin/ls", "./ls"]),
            ("ls", Some("tools"), &["tools/ls"]),
            ("./ls", Some("/bin"), &["./ls"]),
            ("/bin/ls", Some("/usr/bin"), &["/bin/ls"]),
            ("", Some("/bin"), &[]),
        ];
        for (command, path, expected) in table {
            assert_eq!(found(command, path), expected, "{command:?} in {path:?}");
        }
    }

    #[test]
    fn refuses_nul_bytes_anywhere() {
        let nul = OsString::from("a\0b");
        assert!(matches!(Image::new(&nul, &[], &[]), Err(SpawnError::Nul(_))));
        assert!(matches!(
            Image::new("a".as_ref(), std::slice::from_ref(&nul), &[]),
            Err(SpawnError::Nul(_))
        ));
        let environment = [("A".into(), nul)];
        assert!(matches!(Image::new("a".as_ref(), &[], &environment), Err(SpawnError::Nul(_))));
    }
}
