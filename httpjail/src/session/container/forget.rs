//! The note of the containers that go with a run, for whoever has to sweep after it: other runs may be
//! started with other variables, and so speak with other engines.

use std::{
    ffi::OsString,
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
const NEEDED: [&str; 6] = ["CONTAINER", "DOCKER_", "HOME", "PATH", "PODMAN", "XDG_"];

/// Removes the containers that a dead run noted by [`note`].
pub(in crate::session) fn forget(note: &str) {
    let Some((tool, environment, containers)) = read(note) else { return };
    for container in containers {
        let mut command = Command::new(&tool);
        command.env_clear().envs(environment.iter().cloned()).args(REMOVE).arg(&container);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let removed = quiet.status();
        tracing::debug!(container, ?removed, "removed a dead run's container");
    }
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
