//! Every block of code in the guide and the README is known to a test, and every option that they name
//! is one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use httpjail_tests::markdown::{Block, Document, documents, workspace};
use httpjail_tests::programs;

use crate::sessions;

/// The tests that run blocks in a scene: each names the document and the block.
const SCENES: &str = concat!(
    include_str!("git.rs"),
    include_str!("modes.rs"),
    include_str!("quick_start.rs"),
    include_str!("readme.rs"),
    include_str!("recipes.rs"),
    include_str!("records.rs"),
    include_str!("rules.rs"),
    include_str!("troubleshooting.rs"),
    include_str!("workflow.rs"),
);

/// Options of other programs that the documents name.
const OTHERS_OPTIONS: &[&str] = &[
    "--add-host",
    "--cap-add",
    "--cgroup-parent",
    "--detach",
    "--dns",
    "--exec-opt",
    "--expose",
    "--hostname",
    "--ipc",
    "--network",
    "--pid",
    "--pod",
    "--privileged",
    "--restart",
    "--rm",
    "--security-opt",
    // coder/httpjail's, of which docs/moving.md tells what is here in their place.
    "--cleanup",
    "--http1.1",
    "--no-jail-cleanup",
    "--no-sandbox",
    "--preserve-env",
];

/// Documents for users. The others are for who works on the project, or a record of tests.
fn for_users() -> Vec<Document> {
    let others = ["docs/adr/", "docs/man/", "docs/security-tests.md", "docs/performance.md"];
    let is_for_users = |name: &str| {
        name == "README.md"
            || (name.starts_with("docs/") && !others.iter().any(|other| name.starts_with(other)))
    };
    documents().into_iter().filter(|document| is_for_users(&document.name)).collect()
}

/// Whether a test looks at the block, and at what it says.
fn is_known(document: &str, block: &Block) -> bool {
    let marks: Vec<_> = block.marks.iter().map(|(name, value)| (&**name, &**value)).collect();
    match (&*block.language, &marks[..]) {
        // Run in a lab by a test of its own.
        (_, [("run", id)]) => SCENES.contains(&format!("Scene::of(\"{document}\", \"{id}\")")),
        // What such a test writes to the request log, but for the times.
        ("text", [("log", id)]) => SCENES.contains(&format!("Scene::of(\"{document}\", \"{id}\")")),
        // Run as it stands by `sessions.rs`.
        ("console", []) => sessions::DOCUMENTS.contains(&document),
        // Used by the commands of its document.
        ("js" | "python" | "text" | "sh", [("file", _)]) => true,
        // Looked up in the program's source, below.
        ("text", [("said", "")]) => true,
        // Compared with what a rule's program is sent, by `rules.rs`, and with a record, by `records.rs`.
        ("json", [("line", "proc" | "record" | "refusal")]) => true,
        // Asked of `cargo xtask`, below.
        ("sh", [("cargo", "")]) => true,
        // No command, and nothing that a program says.
        ("text", [("drawing", "")]) => true,
        _ => false,
    }
}

#[test]
fn every_block_is_known_to_a_test() {
    let mut unknown = Vec::new();
    for document in for_users() {
        let blocks = document.blocks.iter().filter(|block| !is_known(&document.name, block));
        unknown.extend(blocks.map(|block| format!("{}:{}", document.name, block.line)));
    }
    assert!(unknown.is_empty(), "no test knows these blocks: {unknown:#?}");
}

/// What `httpjail` itself calls its options.
fn options() -> BTreeSet<String> {
    let help = Command::new(programs::httpjail()).arg("--help").output().expect("it can be run");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    long_options(&help)
        .into_iter()
        .chain(["--all", "--json", "--path", "--print"].map(str::to_owned))
        .chain(["--install", "--remove"].map(str::to_owned))
        .collect()
}

fn long_options(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let words = text.split(|c: char| !is_part(c));
    let options = words.filter(|word| word.starts_with("--") && word.len() > 3);
    options.map(|word| word.trim_end_matches('.').to_owned()).collect()
}

#[test]
fn every_option_that_is_named_is_one() {
    let options = options();
    let mut wrong = Vec::new();
    for document in for_users() {
        let named =
            document.spans().iter().flat_map(|span| long_options(span)).collect::<BTreeSet<_>>();
        let is_wrong = |option: &&String| {
            !options.contains(*option) && !OTHERS_OPTIONS.contains(&option.as_str())
        };
        wrong.extend(named.iter().filter(is_wrong).map(|it| format!("{}: {it}", document.name)));
    }
    assert!(wrong.is_empty(), "no such options: {wrong:#?}");
}

#[test]
fn the_guide_tells_of_every_option() {
    let guide = for_users().into_iter().filter(|document| document.name != "docs/moving.md");
    let texts: Vec<String> = guide
        .flat_map(|document| {
            let blocks = document.blocks.iter().map(|block| block.text.clone()).collect::<Vec<_>>();
            document.spans().into_iter().chain(blocks)
        })
        .collect();
    let told: BTreeSet<String> = texts.iter().flat_map(|text| long_options(text)).collect();
    let help = ["--help".to_owned(), "--version".to_owned(), "--verbose".to_owned()];
    let untold: Vec<_> =
        options().into_iter().filter(|it| !told.contains(it) && !help.contains(it)).collect();
    assert!(untold.is_empty(), "the guide doesn't tell of {untold:?}");
}

/// Messages that the documents quote are the program's: what stands between the `…` of a line is found
/// in its source.
#[test]
fn every_message_that_is_quoted_is_in_the_source() {
    let source = source_below(&workspace().join("httpjail/src"));
    let mut wrong = Vec::new();
    for document in for_users() {
        let quoted = document.blocks.iter().filter(|block| block.marks.contains_key("said"));
        for line in quoted.flat_map(|block| block.text.lines()) {
            let pieces = line.split('…').map(str::trim).filter(|piece| piece.len() > 2);
            wrong.extend(
                pieces
                    .filter(|piece| !source.contains(piece))
                    .map(|piece| format!("{}: {piece}", document.name)),
            );
        }
    }
    assert!(wrong.is_empty(), "nothing says so: {wrong:#?}");
}

/// All Rust source below a folder, with the lines of long texts joined and what is put into them left
/// out.
fn source_below(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).expect("a folder of ours").flatten() {
        if entry.path().is_dir() {
            all += &source_below(&entry.path());
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(entry.path()).expect("a file of ours");
            let mut pieces = text.split("\\\n");
            all += pieces.next().expect("one at least");
            pieces.for_each(|piece| all += piece.trim_start());
        }
    }
    all.replace("\\\"", "\"")
}

/// `cargo xtask SUBCOMMAND --help` tells that there is such a command, with such options.
#[test]
fn every_command_of_cargo_xtask_is_one() {
    let cli = fs::read_to_string(workspace().join("xtask/src/cli.rs")).expect("a file of ours");
    let needs = fs::read_to_string(workspace().join("xtask/src/setup/needs.rs")).expect("the same");
    for document in for_users() {
        let blocks = document.blocks.iter().filter(|block| block.marks.contains_key("cargo"));
        for line in blocks.flat_map(|block| block.text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
            match words[..] {
                ["cargo", "xtask", "setup", "--for", purpose] => {
                    assert!(needs.contains(&format!("    {},", capital(purpose))), "{line}");
                }
                ["cargo", "xtask", name] => {
                    let name = capital(name);
                    let is_one = cli.contains(&format!("    {name},"))
                        || cli.contains(&format!("    {name}("));
                    assert!(is_one, "{line}");
                }
                ["cargo", "build", "--release", "--package", "httpjail"] => {}
                _ => assert!(line.is_empty(), "{}: {line}", document.name),
            }
        }
    }
}
