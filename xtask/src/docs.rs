//! `cargo xtask docs`: builds the guide, an mdBook, with the project's other documents behind it.
//!
//! Chapters lie in `docs/` and link to documents beside that folder. So that each link leads somewhere
//! in the book, too, the book is built of a copy that has all of them at the places that they have to one
//! another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::setup::{self, Purpose};
use crate::tools;

/// The book begins with it.
const FIRST: &str = "README.md";

/// Documents beside the guide that come behind it, by their titles.
const BESIDE: [(&str, &str); 5] = [
    ("Architecture", "ARCHITECTURE.md"),
    ("Security", "SECURITY.md"),
    ("Contributing", "CONTRIBUTING.md"),
    ("Changelog", "CHANGELOG.md"),
    ("Testing on macOS", "macos/TESTING.md"),
];

/// Builds the book, and says where it is.
///
/// # Errors
/// When mdBook can't be had, or fails.
pub(crate) fn build() -> Result<()> {
    setup::ensure(Purpose::Docs)?;
    let (source, book) =
        (tools::target_dir().join("book-source"), tools::target_dir().join("book"));
    if source.exists() {
        fs::remove_dir_all(&source).context("failed to remove the copy of the last time")?;
    }
    copy(&tools::workspace().join("docs"), &source.join("docs"))?;
    let others = [FIRST, "LICENSE-MIT", "LICENSE-APACHE"];
    for name in BESIDE.iter().map(|(_, name)| *name).chain(others) {
        let target = source.join(name);
        let folder = target.parent().unwrap_or(&source);
        fs::create_dir_all(folder).context("failed to make a folder for the copy")?;
        fs::copy(tools::workspace().join(name), &target).with_context(|| format!("copy {name}"))?;
    }
    let summary = fs::read_to_string(source.join("docs/SUMMARY.md")).context("the summary")?;
    fs::write(source.join("SUMMARY.md"), whole_summary(&summary)).context("the summary")?;
    fs::remove_file(source.join("docs/SUMMARY.md")).context("the summary")?;
    fs::rename(source.join("docs/book.toml"), source.join("book.toml")).context("the settings")?;
    let mut mdbook = Command::new("mdbook");
    tools::run(mdbook.arg("build").arg("--dest-dir").arg(&book).arg(&source))?;
    println!("{}", book.join("index.html").display());
    Ok(())
}

/// The summary of the guide as one of a folder higher, and the documents that stand there.
fn whole_summary(guide: &str) -> String {
    let beside = BESIDE.map(|(title, name)| format!("- [{title}]({name})\n"));
    let guide = guide.replace("](", "](docs/");
    format!("[httpjail]({FIRST})\n\n{guide}\n# The project\n\n{}", beside.concat())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("failed to make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("failed to list {}", from.display()))? {
        let path: PathBuf = entry?.path();
        let Some(name) = path.file_name() else { continue };
        let target = to.join(name);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).with_context(|| format!("copy {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_summary_names_what_stands_beside_the_guide() {
        let summary = whole_summary("# The guide\n\n- [Rules](rules.md)\n  - [All](more/all.md)\n");
        assert!(summary.starts_with("[httpjail](README.md)\n\n# The guide\n"));
        assert!(summary.contains("- [Rules](docs/rules.md)\n  - [All](docs/more/all.md)\n"));
        assert!(summary.ends_with("- [Testing on macOS](macos/TESTING.md)\n"));
        for (_, name) in BESIDE {
            assert!(tools::workspace().join(name).is_file(), "{name}");
        }
    }
}
