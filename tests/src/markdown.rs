//! The project's documents, as far as tests read Markdown: blocks of code with what their first line
//! says of them, links and what they can lead to, words in backticks.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Documents that lie elsewhere than in `docs/`.
const ELSEWHERE: [&str; 6] = [
    "README.md",
    "ARCHITECTURE.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "macos/TESTING.md",
];

/// A document.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its path from the folder of the workspace.
    pub name: String,
    /// Its blocks of code.
    pub blocks: Vec<Block>,
    /// What stands between these.
    prose: String,
}

/// A block of code between fences.
#[derive(Clone, Debug)]
pub struct Block {
    /// The line of its first fence, from 1.
    pub line: usize,
    /// The first word behind that fence: the language.
    pub language: String,
    /// The other words there: `run=npm` is told as `run` and `npm`, `said` as `said` and nothing.
    pub marks: HashMap<String, String>,
    /// What it holds.
    pub text: String,
}

/// The folder of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in a folder of it").into()
}

/// All documents: those of the guide, and those that lie elsewhere.
#[must_use]
pub fn documents() -> Vec<Document> {
    let mut names: Vec<String> = ELSEWHERE.map(str::to_owned).into();
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(workspace().join(&folder)).expect("a folder of ours");
        for entry in entries.flatten() {
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                names.push(path.into_os_string().into_string().expect("a plain name"));
            }
        }
    }
    names.sort();
    names.iter().map(|name| Document::read(name)).collect()
}

impl Document {
    /// Reads a document.
    ///
    /// # Panics
    /// When there is none of this name, or a block that doesn't end.
    #[must_use]
    pub fn read(name: &str) -> Self {
        let text = fs::read_to_string(workspace().join(name)).expect(name);
        let (mut prose, mut blocks, mut open) = (String::new(), Vec::new(), None::<Block>);
        for (number, line) in text.lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            open = match (open, fence) {
                (None, Some(info)) => Some(Block::new(number + 1, info)),
                (None, None) => {
                    prose.extend([line, "\n"]);
                    None
                }
                (Some(block), Some("")) => {
                    blocks.push(block);
                    None
                }
                (Some(mut block), _) => {
                    block.text.extend([line, "\n"]);
                    Some(block)
                }
            };
        }
        assert!(open.is_none(), "{name}: a block of code doesn't end");
        Self { name: name.to_owned(), blocks, prose }
    }

    /// The block that is marked so.
    ///
    /// # Panics
    /// When there isn't just one.
    #[must_use]
    pub fn block(&self, mark: &str, value: &str) -> &Block {
        let is_it = |block: &&Block| block.marks.get(mark).is_some_and(|found| found == value);
        let found: Vec<&Block> = self.blocks.iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{}: blocks that are marked {mark}={value}", self.name);
        found[0]
    }

    /// Where its links lead, as written.
    #[must_use]
    pub fn links(&self) -> Vec<String> {
        let prose = without_spans(&self.prose);
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        targets.map(str::to_owned).collect()
    }

    /// What stands in backticks, on one line each.
    #[must_use]
    pub fn spans(&self) -> Vec<String> {
        let words = |span: &str| span.split_whitespace().collect::<Vec<_>>().join(" ");
        self.prose.split('`').skip(1).step_by(2).map(words).collect()
    }

    /// The anchors that its headings make, as GitHub and mdBook name them.
    #[must_use]
    pub fn anchors(&self) -> HashSet<String> {
        let mut anchors = HashSet::new();
        for heading in self.prose.lines().filter(|line| line.starts_with('#')) {
            let slug = slug(heading.trim_start_matches('#').trim());
            let again = (1..).map(|number| format!("{slug}-{number}"));
            let free = std::iter::once(slug.clone()).chain(again).find(|it| !anchors.contains(it));
            anchors.extend(free);
        }
        anchors
    }
}

impl Block {
    fn new(line: usize, info: &str) -> Self {
        let mut words = info.split_whitespace();
        let language = words.next().unwrap_or_default().to_owned();
        let mark = |word: &str| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            (name.to_owned(), value.to_owned())
        };
        Self { line, language, marks: words.map(mark).collect(), text: String::new() }
    }

    /// What is typed at the prompts of a session, each with what comes of it.
    #[must_use]
    pub fn session(&self) -> Vec<(String, String)> {
        let mut session: Vec<(String, String)> = Vec::new();
        let mut is_typed = false;
        for line in self.text.lines() {
            match (line.strip_prefix("$ "), session.last_mut()) {
                (Some(command), _) => session.push((command.to_owned(), String::new())),
                (None, Some((command, _))) if is_typed => command.extend(["\n", line]),
                (None, Some((_, output))) => output.extend([line, "\n"]),
                (None, None) => {}
            }
            let command = session.last().map_or("", |(command, _)| command);
            is_typed = is_unfinished(command) && session.last().is_some_and(|it| it.1.is_empty());
        }
        session
    }

    /// The steps of a workflow: what `run:` says, in the order in which it stands there.
    #[must_use]
    pub fn steps(&self) -> Vec<String> {
        let mut steps: Vec<(usize, String)> = Vec::new();
        let mut within = false;
        for line in self.text.lines() {
            let indent = line.len() - line.trim_start().len();
            let words = line.trim_start().trim_start_matches("- ");
            match (words.strip_prefix("run:"), steps.last_mut()) {
                (Some(command), _) => {
                    let command = command.trim();
                    within = command == "|";
                    let text = if within { String::new() } else { command.to_owned() };
                    steps.push((indent, text));
                }
                (None, Some((outer, text))) if within && indent > *outer => {
                    text.extend([line.trim_start(), "\n"]);
                }
                (None, _) => within = false,
            }
        }
        steps.into_iter().map(|(_, text)| text).collect()
    }
}

/// Whether a shell would wait for another line.
fn is_unfinished(command: &str) -> bool {
    let open = |quote: char| command.matches(quote).count() % 2 == 1;
    command.ends_with('\\') || (open('\'') && !command.contains('"')) || open('"')
}

fn without_spans(prose: &str) -> String {
    prose.split('`').step_by(2).collect()
}

fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}
