//! The note of the containers that go with a run, for whoever has to sweep after it: other runs may be
//! started with other variables, and so speak with other engines.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::engine::REMOVE;

/// A note of the tool, of what it needs of its environment, and of containers.
pub(super) fn note(
    tool: &OsString,
    environment: &[(OsString, OsString)],
    containers: &[&str],
) -> String {
    let is_needed = |(name, _): &&(OsString, OsString)| {
        let name = name.to_string_lossy();
        NEEDED.iter().any(|needed| name.starts_with(needed))
    };
    let text = |text: &OsString| text.to_string_lossy().into_owned();
    let environment = environment.iter().filter(is_needed);
    let environment: Vec<_> = environment.map(|(name, value)| [text(name), text(value)]).collect();
    json!({"tool": text(tool), "environment": environment, "containers": containers}).to_string()
}

/// What tools find their engine and their files by: variables whose names begin so.
const NEEDED: [&str; 5] = ["CONTAINER", "DOCKER_", "HOME", "PODMAN", "XDG_"];
/// Where root's programs are. The note says which of them it is, and no more: who could write one
/// must not have root run a program of his.
const FOLDERS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// What such a program may be called.
const TOOLS: [&str; 2] = ["docker", "podman"];
/// Whoever isn't root may write it.
const OTHERS_WRITE: u32 = 0o022;

/// Removes the containers that a dead run noted by [`note`].
pub(in crate::session) fn forget(note: &str) {
    let Some((named, environment, containers)) = read(note) else { return };
    if containers.is_empty() {
        return;
    }
    let Some(tool) = tool(&named, &FOLDERS.map(Path::new)) else {
        tracing::warn!(
            tool = named,
            ?containers,
            "a dead run's containers are left: their tool isn't root's docker or podman"
        );
        return;
    };
    for container in containers {
        let mut command = Command::new(&tool);
        // What the tool itself runs is found where it was.
        command.env_clear().envs(environment.iter().cloned()).env("PATH", FOLDERS.join(":"));
        command.args(REMOVE).arg(&container);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let removed = quiet.status();
        tracing::debug!(container, ?removed, "removed a dead run's container");
    }
}

/// The program that a note means by a name or a path, if nobody but root can have put it there.
fn tool(named: &str, folders: &[&Path]) -> Option<PathBuf> {
    let may_be = |path: &PathBuf| {
        let is_roots = |found: fs::Metadata| {
            found.is_file() && found.uid() == 0 && found.mode() & OTHERS_WRITE == 0
        };
        path.metadata().is_ok_and(is_roots)
    };
    let known =
        TOOLS.into_iter().find(|tool| Path::new(named).file_name() == Some(tool.as_ref()))?;
    let mut paths = folders.iter().map(|folder| folder.join(known));
    let found = if named == known {
        paths.find(|path| path.exists())
    } else {
        paths.find(|path| path.as_os_str() == named)
    };
    found.filter(may_be)
}

/// The tool, its environment, and containers.
type Note = (String, Vec<(String, String)>, Vec<String>);

fn read(note: &str) -> Option<Note> {
    let note: Value = serde_json::from_str(note).ok()?;
    let texts = |list: &Value| {
        let texts = list.as_array()?.iter().map(|it| it.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<_>>>()
    };
    let environment = note.get("environment")?.as_array()?.iter().map(|pair| {
        let [name, value] = texts(pair)?.try_into().ok()?;
        Some((name, value))
    });
    let tool = note.get("tool")?.as_str()?.to_owned();
    Some((tool, environment.collect::<Option<_>>()?, texts(note.get("containers")?)?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn reads_what_was_noted() {
        let pairs = [["HOME", "/root"], ["DOCKER_HOST", "unix:///x"]];
        let note = json!({"tool": "docker", "environment": pairs, "containers": ["a", "b"]});
        let (tool, environment, containers) = read(&note.to_string()).unwrap();
        assert_eq!((tool.as_str(), environment.len()), ("docker", 2));
        assert_eq!(environment[1], ("DOCKER_HOST".to_owned(), "unix:///x".to_owned()));
        assert_eq!(containers, ["a", "b"]);
        for other in ["", "{}", "docker\na", r#"{"tool": "x", "environment": [["a"]]}"#] {
            assert_eq!(read(other), None);
        }
    }

    #[test]
    fn runs_no_program_that_only_a_note_names() {
        let folder = tempfile::tempdir().unwrap();
        let (program, mark) = (folder.path().join("podman"), folder.path().join("mark"));
        fs::write(&program, format!("#!/bin/sh\n: > '{}'\n", mark.display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let here = folder.path().display().to_string();
        assert!(Command::new(&program).status().unwrap().success() && mark.exists(), "the twin");
        fs::remove_file(&mark).unwrap();
        for named in [program.display().to_string(), format!("{here}/../../{here}/podman")] {
            let note = json!({"tool": named, "environment": [["PATH", here]], "containers": ["a"]});
            forget(&note.to_string());
            assert!(!mark.exists(), "{named}");
        }
    }

    #[test]
    fn takes_roots_tools_by_name_and_by_path() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        let folders = [first.as_path(), second.as_path()];
        fs::create_dir(&first).unwrap();
        fs::create_dir(&second).unwrap();
        let there = second.join("docker");
        assert_eq!(tool("docker", &folders), None);
        fs::write(&there, "").unwrap();
        // Only root's files are taken, and tests need not be root's.
        let own = |path: PathBuf| rustix::process::geteuid().is_root().then_some(path);
        assert_eq!(tool("docker", &folders), own(there.clone()));
        assert_eq!(tool(there.to_str().unwrap(), &folders), own(there.clone()));
        for other in ["podman", "sh", "", "./docker", "/docker", "docker/"] {
            assert_eq!(tool(other, &folders), None, "{other}");
        }
        fs::set_permissions(&there, fs::Permissions::from_mode(0o775)).unwrap();
        assert_eq!(tool("docker", &folders), None, "a group's");
    }

    #[test]
    fn notes_what_tools_need_and_nothing_else() {
        let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let environment =
            [pair("DOCKER_HOST", "unix:///x"), pair("SECRET", "x"), pair("HOME", "/")];
        let noted = read(&note(&"docker".into(), &environment, &["a"])).unwrap();
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(noted.1, [own("DOCKER_HOST", "unix:///x"), own("HOME", "/")]);
        assert_eq!(noted.2, ["a"]);
    }
}
