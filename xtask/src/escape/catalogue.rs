//! The catalogue of ways out of a jail, with the tests that show each of them closed.

use anyhow::{Context, Result, bail};

const TEXT: &str = include_str!("catalogue.txt");

/// One way out.
#[derive(Debug)]
pub(super) struct Entry {
    /// Group and number.
    pub(super) id: &'static str,
    /// What is tried, in a few words.
    pub(super) attack: &'static str,
    /// What stands against it.
    pub(super) guard: &'static str,
    /// The functions that try it.
    pub(super) tests: Vec<&'static str>,
    /// What they don't show.
    pub(super) rest: Rest,
}

/// What the tests of an entry don't show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing: they try all of it.
    Nothing,
    /// A part is left open, or isn't tried.
    Part(&'static str),
    /// It is guarded, but not tried.
    Gap(&'static str),
    /// It isn't defended.
    Open(&'static str),
    /// It can't be tried on an ordinary machine.
    Elsewhere(&'static str),
}

impl Rest {
    fn parse(text: &'static str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::Nothing);
        }
        match text.split_once(": ") {
            Some(("part", why)) => Ok(Self::Part(why)),
            Some(("gap", why)) => Ok(Self::Gap(why)),
            Some(("open", why)) => Ok(Self::Open(why)),
            Some(("here", why)) => Ok(Self::Elsewhere(why)),
            _ => bail!("no such rest: {text}"),
        }
    }
}

/// Reads the catalogue.
///
/// # Errors
/// When a line of it is damaged.
pub(super) fn entries() -> Result<Vec<Entry>> {
    let lines = TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| entry(line).with_context(|| format!("failed to read {line:?}"))).collect()
}

fn entry(line: &'static str) -> Result<Entry> {
    let columns: Vec<_> = line.split('|').map(str::trim).collect();
    let [id, attack, guard, tests, rest] = columns[..] else {
        bail!("it has {} columns", columns.len());
    };
    let tests = tests.split_whitespace().collect();
    Ok(Entry { id, attack, guard, tests, rest: Rest::parse(rest)? })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::test_names::rust_files;
    use crate::tools;

    /// How many entries each group has.
    const GROUPS: [(char, usize); 5] = [('A', 29), ('B', 29), ('C', 22), ('D', 9), ('E', 14)];

    /// How often each function is defined, by its name.
    fn functions() -> BTreeMap<String, usize> {
        let mut functions = BTreeMap::new();
        for folder in ["tests/tests", "httpjail/src", "httpjail/tests", "httpjail-common/src"] {
            for file in rust_files(&tools::workspace().join(folder)) {
                let source = fs::read_to_string(file).unwrap();
                for definition in source.split("fn ").skip(1) {
                    let name = definition.split(|c: char| !c.is_alphanumeric() && c != '_').next();
                    *functions.entry(name.unwrap_or_default().to_owned()).or_insert(0) += 1;
                }
            }
        }
        functions
    }

    #[test]
    fn has_every_entry_in_its_order() {
        let numbers = GROUPS.map(|(group, last)| (1..=last).map(move |n| format!("{group}{n:02}")));
        let wanted: Vec<_> = numbers.into_iter().flatten().collect();
        let entries = entries().unwrap();
        assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn names_tests_that_exist_once() {
        let functions = functions();
        for entry in entries().unwrap() {
            for test in entry.tests {
                let count = functions.get(test).copied().unwrap_or_default();
                assert_eq!(count, 1, "{}: {test}", entry.id);
            }
        }
    }

    #[test]
    fn names_every_test_of_the_suite() {
        let entries = entries().unwrap();
        let is_numbered = |name: &&String| {
            let bytes = name.as_bytes();
            matches!(bytes, [b'a'..=b'e', b'0'..=b'9', b'0'..=b'9', b'_', ..])
        };
        for name in functions().keys().filter(is_numbered) {
            let id = name[..3].to_uppercase();
            let entry = entries.iter().find(|entry| entry.id == id).unwrap();
            assert!(entry.tests.contains(&name.as_str()), "{id} doesn't name {name}");
        }
    }

    #[test]
    fn says_why_an_entry_has_no_test() {
        for entry in entries().unwrap() {
            assert!(!entry.tests.is_empty() || entry.rest != Rest::Nothing, "{}", entry.id);
        }
    }
}
