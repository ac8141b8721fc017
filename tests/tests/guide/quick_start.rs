//! docs/quick-start.md.

use std::fs;

use httpjail_tests::markdown::{Document, workspace};

use crate::recipes::npm_registry;
use crate::scene::Scene;

#[test]
fn the_program_is_one_file_that_sudo_finds() {
    let scene = Scene::of("docs/quick-start.md", "install");
    let page = fs::read_to_string(workspace().join("docs/man/httpjail.1")).expect("a page");
    scene.put("target/release/httpjail", "program");
    scene.put("docs/man/httpjail.1", &page);
    // Not into the machine's own folders.
    let into = scene.lab.home().join("into");
    let command = scene.block.text.replace("/usr/local", into.to_str().expect("plain"));
    scene
        .sh(&format!("mkdir -p into/bin into/share/bash-completion/completions; {command}"))
        .exits(0);
    assert_eq!(scene.file("into/bin/httpjail"), "program");
    let shown =
        scene.sh("man -l into/share/man/man1/httpjail.1 || cat into/share/man/man1/httpjail.1");
    assert!(shown.stdout.contains("SYNOPSIS"), "{shown:?}");
    // The completions do what a shell asks of them.
    let ask = "bash -c '. into/share/bash-completion/completions/httpjail
        COMP_WORDS=(httpjail --req) COMP_CWORD=1; _httpjail httpjail --req httpjail; echo $COMPREPLY'";
    assert_eq!(scene.sh(ask).exits(0).stdout, "--request-log\n");
    scene.lab.assert_clean();
}

#[test]
fn the_doctor_is_content() {
    let scene = Scene::of("docs/quick-start.md", "doctor");
    let told = scene.run().exits(0);
    assert!(told.stdout.contains("eBPF programs   holds"), "{told:?}");
    scene.lab.assert_clean();
}

#[test]
fn the_first_jail_lets_out_github_alone() {
    let scene = Scene::of("docs/quick-start.md", "first");
    let (github, other) = (scene.origin("github.com"), scene.origin("example.com"));
    scene.assert_session();
    assert_eq!(github.seen_lines(), ["GET https://github.com/"]);
    assert!(other.seen().is_empty());
    scene.lab.assert_clean();
}

#[test]
fn nobody_is_asked_to_cooperate() {
    let scene = Scene::of("docs/quick-start.md", "cooperation");
    let other = scene.origin("example.com");
    scene.lab.ssh_server("github.com");
    scene.assert_session();
    assert!(other.seen().is_empty());
    scene.lab.assert_clean();
}

#[test]
fn what_a_command_asks_for_is_told() {
    let scene = Scene::of("docs/quick-start.md", "look");
    let registry = npm_registry(&scene);
    let ran = scene.run().exits(0);
    assert!(ran.stderr.contains("2 requests allowed"), "{ran:?}");
    assert_eq!(registry.seen().len(), 2);
    let log = scene.file("requests.log");
    let written = |text: &str| -> Vec<String> {
        let lines =
            text.lines().map(|line| line.split_once(' ').expect("a time first").1.to_owned());
        lines.collect()
    };
    let document = Document::read("docs/quick-start.md");
    assert_eq!(written(&log), written(&document.block("log", "look").text));
    scene.lab.assert_clean();
}

#[test]
fn what_a_command_asks_for_is_enough() {
    let scene = Scene::of("docs/quick-start.md", "enforce");
    npm_registry(&scene);
    scene.run().exits(0);
    assert!(scene.file("node_modules/left-pad/index.js").contains("lab"));
    scene.lab.assert_clean();
}
