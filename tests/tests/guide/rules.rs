//! What the pages about rules run or show, but for their sessions.

use std::collections::BTreeSet;

use httpjail_tests::Lab;
use httpjail_tests::markdown::Document;
use serde_json::Value;

use crate::scene::Scene;

#[test]
fn a_rule_of_roots_is_what_strict_wants() {
    let scene = Scene::of("docs/rules-javascript.md", "root-rule");
    let api = scene.origin("api.github.com");
    let requests = [
        "GET https://api.github.com/repos/them/lib",
        "DELETE https://api.github.com/repos/them/lib",
    ];
    scene.asks("my-agent", &requests);
    assert_eq!(scene.run_with_folder_of_roots().exits(0).stdout, "200 403 ");
    assert_eq!(api.seen().len(), 1);
    // The user's own file isn't.
    let refused = scene.sh("sudo httpjail --strict --js-file rule.js -- my-agent").exits(125);
    assert!(refused.stderr.contains("which --strict asks for"), "{refused:?}");
    scene.lab.assert_clean();
}

#[test]
fn a_program_of_roots_is_what_strict_wants() {
    let scene = Scene::of("docs/rules-programs.md", "root-program");
    let api = scene.origin("api.github.com");
    scene
        .asks("my-agent", &["GET https://api.github.com/user", "POST https://api.github.com/user"]);
    assert_eq!(scene.run_with_folder_of_roots().exits(0).stdout, "200 403 ");
    assert_eq!(api.seen().len(), 1);
    let refused =
        scene.sh("sudo httpjail --strict --proc 'python3 rule.py' -- my-agent").exits(125);
    assert!(refused.stderr.contains("keep the command from what decides"), "{refused:?}");
    scene.lab.assert_clean();
}

/// The names of an object's members, and of those of its members.
fn names(value: &Value) -> BTreeSet<String> {
    let object = value.as_object().expect("an object");
    let below = object.iter().filter(|(name, _)| *name == "process").flat_map(|(_, it)| names(it));
    object.keys().cloned().chain(below).collect()
}

#[test]
fn the_line_that_a_program_reads_has_these_members() {
    let lab = Lab::new();
    let _origin = lab.origin("a.test");
    let program = format!(
        "sh -c 'read -r line; echo \"$line\" > {}; echo true'",
        lab.home().join("line").display()
    );
    lab.jail()
        .option("--proc")
        .option(program)
        .run(["curl", "-s", "https://a.test/x?q=1"])
        .exits(0);
    let line = std::fs::read_to_string(lab.home().join("line")).expect("it was written");
    let sent = names(&serde_json::from_str(&line).expect("JSON"));
    let document = Document::read("docs/rules-programs.md");
    let shown = serde_json::from_str(&document.block("line", "proc").text).expect("JSON");
    assert_eq!(names(&shown), sent);
    lab.assert_clean();
}
