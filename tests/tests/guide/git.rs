//! git, by HTTP, against a server of the lab that is git's own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use httpjail_tests::{Origin, Reply, Seen, programs};

use crate::scene::Scene;

/// Makes a repository in the lab, and serves it, to read and to write, as `github.com/us/app.git`.
fn github(scene: &Scene) -> Origin {
    let script = "set -e
        git init -q source && cd source && echo lab > file && git add file
        git -c user.name=lab -c user.email=lab@lab.test commit -qm lab && cd ..
        git clone -q --bare source repositories/us/app.git
        git -C repositories/us/app.git config http.receivepack true";
    scene.lab.outside().sh(script).exits(0);
    let root = scene.lab.home().join("repositories");
    scene.lab.origin_with("github.com", move |seen| answer(&root, seen))
}

/// Has `git http-backend` (CGI) answer.
fn answer(root: &Path, seen: &Seen) -> Reply {
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let header = |name: &str| {
        let value = seen.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let mut command = Command::new(programs::require("git"));
    command
        .arg("http-backend")
        .env_clear()
        .env("PATH", programs::path())
        .env("HOME", PathBuf::from("/nonexistent"))
        .envs([("GIT_HTTP_EXPORT_ALL", ""), ("GIT_CONFIG_COUNT", "1")])
        .envs([("GIT_CONFIG_KEY_0", "safe.directory"), ("GIT_CONFIG_VALUE_0", "*")])
        .env("GIT_PROJECT_ROOT", root)
        .env("REQUEST_METHOD", &seen.method)
        .envs([("PATH_INFO", path), ("QUERY_STRING", query)])
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", seen.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("git can be run");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(&seen.body).expect("it reads all");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends").stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut reply = Reply::new(output[end + 4..].to_vec().into());
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        if name == "Status" {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            *reply.status_mut() = code.expect("a status");
        } else {
            let name: http::HeaderName = name.parse().expect("a header");
            reply.headers_mut().insert(name, value.parse().expect("its value"));
        }
    }
    reply
}

#[test]
fn fetches_from_one_repository_and_pushes_to_none() {
    let scene = Scene::of("docs/recipes.md", "git");
    let github = github(&scene);
    let push = "cd app && echo more >> file && \
        git -c user.name=lab -c user.email=lab@lab.test commit -qam more && \
        git push -q https://github.com/us/app.git HEAD:more";
    let jail = scene.block.text.replace("git clone https://github.com/us/app.git", "");
    let jailed = |command: &str| scene.sh(&format!("{} sh -c '{command}'", jail.trim_end()));
    scene.run().exits(0);
    assert_eq!(scene.file("app/file"), "lab\n");
    let denied = jailed(push);
    assert!(denied.code != Some(0) && denied.stderr.contains("403"), "{denied:?}");
    // It works outside.
    scene.sh("cd app && git push -q https://github.com/us/app.git HEAD:more").exits(0);
    let other = jailed("git clone https://github.com/them/lib.git");
    assert!(other.stderr.contains("403"), "{other:?}");
    let pushes = github.seen().iter().filter(|it| it.target.ends_with("/git-receive-pack")).count();
    assert_eq!(pushes, 1);
    scene.lab.assert_clean();
}
