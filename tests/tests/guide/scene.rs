//! A scene: one block of a document, run in a lab by a plain user, as whoever reads it would.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;

use httpjail_tests::markdown::{Block, Document};
use httpjail_tests::{Finished, Invocation, Lab, Origin, Running, USER_GID, USER_UID, folder};

/// What stands between the outputs of a session's commands.
const BETWEEN: char = '\u{1e}';

/// Where everybody may look for programs.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A lab in which one block is run.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) block: Block,
}

impl Scene {
    /// Sets the scene for the block that is marked `run=ID`: the document's files are there.
    pub(crate) fn of(document: &str, id: &str) -> Self {
        let document = Document::read(document);
        let scene = Self { lab: Lab::new(), block: document.block("run", id).clone() };
        scene.put_files_of(&document);
        scene.put_httpjail();
        scene
    }

    /// A scene for all sessions of a document that need no servers.
    pub(crate) fn for_session(document: &Document, block: &Block) -> Self {
        let scene = Self { lab: Lab::new(), block: block.clone() };
        scene.put_files_of(document);
        scene.put_httpjail();
        scene
    }

    fn put_files_of(&self, document: &Document) {
        for block in &document.blocks {
            if let Some(name) = block.marks.get("file") {
                self.put(name, &block.text);
            }
        }
    }

    fn put_httpjail(&self) {
        fs::create_dir(self.bin()).expect("the lab's home is writable");
        symlink(self.lab.httpjail(), self.bin().join("httpjail")).expect("nothing is there yet");
    }

    /// Puts a file into the folder where the commands run.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let path = self.lab.home().join(name);
        fs::create_dir_all(path.parent().expect("below home")).expect("home is writable");
        fs::write(&path, text).expect("home is writable");
        for owned in path.ancestors().take_while(|it| *it != self.lab.home()) {
            chown(owned, Some(USER_UID), Some(USER_GID)).expect("root may");
        }
    }

    /// What a file there holds.
    pub(crate) fn file(&self, name: &str) -> String {
        fs::read_to_string(self.lab.home().join(name)).expect(name)
    }

    /// Lets a script stand in for a program that a machine may not have, or that would want more
    /// than the lab offers.
    pub(crate) fn program(&self, name: &str, script: &str) {
        let path = self.bin().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the lab's home is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is our own");
    }

    /// A program that asks for each of these (`METHOD URL`), and prints the codes of the answers.
    pub(crate) fn asks(&self, program: &str, requests: &[&str]) {
        let ask = |request: &&str| {
            let (method, url) = request.split_once(' ').expect("METHOD URL");
            format!("curl -sS -o /dev/null -w '%{{http_code}} ' -X {method} '{url}'\n")
        };
        self.program(program, &requests.iter().map(ask).collect::<String>());
    }

    /// Starts a web server that answers everything with a line of text.
    pub(crate) fn origin(&self, name: &str) -> Origin {
        self.lab.origin(name)
    }

    /// Starts a web server with the files below this folder, which a script prepares there.
    pub(crate) fn site(&self, name: &str, prepare: &str) -> Origin {
        let root = self.lab.home().join("sites").join(name);
        fs::create_dir_all(&root).expect("the lab's home is writable");
        let script = format!("set -e; cd {}\n{prepare}", root.display());
        self.lab.outside().sh(&script).exits(0);
        self.lab.origin_with(name, folder(root))
    }

    /// Runs the block's commands, one after the other.
    pub(crate) fn run(&self) -> Finished {
        self.sh(&self.block.text)
    }

    /// Runs the block's commands by root, who alone may reach some of the machine's programs.
    pub(crate) fn run_as_root(&self) -> Finished {
        self.place().sh(&format!("{}\n{}", self.prelude(), self.block.text))
    }

    /// Runs a script as [`Scene::run`] does.
    pub(crate) fn sh(&self, script: &str) -> Finished {
        self.place().as_user().sh(&format!("{}\n{script}", self.prelude()))
    }

    /// Runs the block's commands with another folder for what they install: one of root's, as the one
    /// that they name is.
    pub(crate) fn run_with_folder_of_roots(&self) -> Finished {
        let folder = self.lab.roots_folder();
        let script = ["/etc/httpjail", "/usr/local/lib/httpjail"]
            .iter()
            .fold(self.block.text.clone(), |text, path| text.replace(path, &folder));
        self.sh(&script)
    }

    /// Starts a script as [`Scene::run`] does.
    pub(crate) fn start(&self, script: &str) -> Running {
        let script = format!("{}\n{script}", self.prelude());
        self.place().as_user().start(["/bin/sh", "-c", &script])
    }

    /// Runs a session's commands in one shell, and compares what each prints with what the
    /// document says: a line `...` stands for any lines, `…` for any words.
    pub(crate) fn assert_session(&self) {
        let session = self.block.session();
        assert!(!session.is_empty(), "a session without a prompt: {:?}", self.block);
        let script: String = session
            .iter()
            .map(|(command, _)| {
                format!("{{ {command}\n}} 2>&1; s=$?; printf '{BETWEEN}'; (exit $s)\n")
            })
            .collect();
        let finished = self.sh(&script);
        let outputs: Vec<&str> = finished.stdout.split(BETWEEN).collect();
        let differs =
            |((_, told), printed): &(&(String, String), &&str)| !is_as_told(told, printed);
        let wrong =
            session.iter().zip(&outputs).filter(differs).map(|((command, told), printed)| {
                format!("$ {command}\n--- the document says:\n{told}--- it prints:\n{printed}\n")
            });
        let wrong: String = wrong.collect();
        assert!(wrong.is_empty(), "the session in line {}:\n{wrong}", self.block.line);
        assert_eq!(outputs.len(), session.len() + 1, "{finished:?}");
    }

    fn place(&self) -> Invocation<'_> {
        self.lab.outside().env("TMPDIR", self.lab.temporary())
    }

    fn prelude(&self) -> String {
        format!("PATH={}:{SYSTEM_PATH}", self.bin().display())
    }

    fn bin(&self) -> PathBuf {
        self.lab.home().join("bin")
    }
}

/// Whether a text is what a document says, as [`Scene::assert_session`] has it.
fn is_as_told(told: &str, printed: &str) -> bool {
    let told: Vec<&str> = told.trim_end().lines().collect();
    let printed: Vec<&str> = printed.trim_end().lines().map(str::trim_end).collect();
    lines_match(&told, &printed)
}

fn lines_match(told: &[&str], printed: &[&str]) -> bool {
    match (told, printed) {
        ([], []) => true,
        (["...", rest @ ..], _) => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        ([line, told @ ..], [found, printed @ ..]) => {
            line_matches(line, found) && lines_match(told, printed)
        }
        _ => false,
    }
}

fn line_matches(told: &str, printed: &str) -> bool {
    let mut pieces = told.split('…');
    let Some(mut rest) = pieces.next().and_then(|first| printed.strip_prefix(first)) else {
        return false;
    };
    if !told.contains('…') {
        return rest.is_empty();
    }
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.is_empty() || told.ends_with('…')
}

#[test]
fn compares_what_is_printed_with_what_is_told() {
    for (told, printed, same) in [
        ("a\nb\n", "a\nb\n", true),
        ("a\n", "a\nb\n", false),
        ("a\n...\n", "a\nb\nc\n", true),
        ("...\nc\n", "a\nb\nc\n", true),
        ("...\nb\n", "a\nb\nc\n", false),
        ("it took … ms\n", "it took 12 ms\n", true),
        ("it took … ms\n", "it took 12 s\n", false),
        ("… b\n", "a b\n", true),
        ("a …\n", "b a\n", false),
    ] {
        assert_eq!(is_as_told(told, printed), same, "{told:?} {printed:?}");
    }
}
