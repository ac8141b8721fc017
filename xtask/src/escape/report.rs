//! What came of the catalogue, on standard output and in docs/security-tests.md.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

use super::Outcome;
use super::catalogue::{Entry, Rest};
use crate::tools;

const INTRODUCTION: &str = "\
# Security tests

Every way out of a jail that we know of, what stands against it, and the tests that try it. Written
by `cargo xtask escape --report`; the catalogue is `xtask/src/escape/catalogue.txt`.

Each test of the suite in `tests/tests/escape/` first does the act without a jail, where it has to
work, then in a jail by a plain user and by root. Other tests are named where they show the same.

*passed* says that all tests of the entry passed; what follows it is guarded no further, or not
tried. *not defended* is said in [known issues](known-issues.md) or in [SECURITY.md](../SECURITY.md),
too.
";

/// The entries that need a word, and how many there are of each kind.
pub(super) fn summary(entries: &[Entry], passed: &BTreeSet<String>) -> String {
    let outcomes = || entries.iter().map(|entry| (entry, Outcome::of(entry, passed)));
    let mut text = String::from("\n");
    for (entry, outcome) in outcomes() {
        if entry.rest != Rest::Nothing || outcome != Outcome::Passed {
            text.push_str(&format!("{} {}: {}\n", entry.id, entry.attack, result(entry, outcome)));
        }
    }
    let count = |wanted| outcomes().filter(|(_, outcome)| *outcome == wanted).count();
    text.push_str(&format!(
        "\n{} entries: {} passed, {} failed, {} without a test\n",
        entries.len(),
        count(Outcome::Passed),
        count(Outcome::Failed),
        count(Outcome::Untried),
    ));
    text
}

/// Writes the table.
pub(super) fn write(entries: &[Entry], passed: &BTreeSet<String>) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let path = tools::workspace().join("docs/security-tests.md");
    fs::write(&path, markdown(entries, passed, &release))
        .with_context(|| format!("failed to write {}", path.display()))
}

fn markdown(entries: &[Entry], passed: &BTreeSet<String>, release: &str) -> String {
    let mut text = String::from(INTRODUCTION);
    // Without what the machine's vendor adds.
    let kernel = release.trim().split('-').next().unwrap_or_default();
    text.push_str(&format!("\n| | attack | guard | tests | on Linux {kernel} |\n"));
    text.push_str("|---|---|---|---|---|\n");
    for entry in entries {
        let tests: Vec<_> = entry.tests.iter().map(|test| format!("`{test}`")).collect();
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} |\n",
            entry.id,
            entry.attack,
            entry.guard,
            tests.join(" "),
            result(entry, Outcome::of(entry, passed)),
        ));
    }
    text
}

/// The last column.
fn result(entry: &Entry, outcome: Outcome) -> String {
    let tried = match outcome {
        Outcome::Untried => "",
        Outcome::Passed => "passed",
        Outcome::Failed => "**failed**",
    };
    let rest = match entry.rest {
        Rest::Nothing => String::new(),
        Rest::Part(why) => format!("but: {why}"),
        Rest::Gap(why) => format!("gap: {why}"),
        Rest::Open(why) => format!("not defended: {why}"),
        Rest::Elsewhere(why) => format!("not run here: {why}"),
    };
    let parts = [tried, &rest].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tests: &[&'static str], rest: Rest) -> Entry {
        Entry { id: "A01", attack: "an act", guard: "a guard", tests: tests.to_vec(), rest }
    }

    fn row(entry: Entry) -> String {
        let passed = BTreeSet::from(["good".to_owned()]);
        let text = markdown(&[entry], &passed, "6.18.44-vendor\n");
        assert!(text.contains("on Linux 6.18.44 |"), "{text}");
        text.lines().next_back().unwrap().to_owned()
    }

    #[test]
    fn an_entry_passes_with_all_its_tests() {
        let passed = row(entry(&["good"], Rest::Nothing));
        assert_eq!(passed, "| A01 | an act | a guard | `good` | passed |");
        let failed = row(entry(&["good", "bad"], Rest::Part("some of it")));
        assert_eq!(
            failed,
            "| A01 | an act | a guard | `good` `bad` | **failed**; but: some of it |"
        );
    }

    #[test]
    fn what_was_not_tried_says_why() {
        let gap = row(entry(&[], Rest::Gap("nobody wrote it")));
        assert_eq!(gap, "| A01 | an act | a guard |  | gap: nobody wrote it |");
        let entries = [entry(&["bad"], Rest::Nothing), entry(&["good"], Rest::Nothing)];
        let text = summary(&entries, &BTreeSet::from(["good".to_owned()]));
        assert!(text.contains("A01 an act: **failed**\n"), "{text}");
        assert!(text.ends_with("2 entries: 1 passed, 1 failed, 0 without a test\n"), "{text}");
    }
}
