//! The catalogue of what users of coder/httpjail have, with the tests that show it here.

use std::collections::BTreeSet;

use crate::test_names::{TestName, test_names};

const TEXT: &str = include_str!("catalogue.txt");

/// How many behaviours are told of each kind.
const GROUPS: [(&str, usize); 14] = [
    ("cli", 26),
    ("env", 8),
    ("own", 9),
    ("ask", 6),
    ("say", 8),
    ("js", 8),
    ("sh", 5),
    ("proc", 8),
    ("prx", 17),
    ("max", 6),
    ("ca", 2),
    ("jail", 14),
    ("dock", 2),
    ("bad-", 7),
];

/// One behaviour.
struct Entry {
    id: &'static str,
    here: &'static str,
    tests: Vec<&'static str>,
}

fn entries() -> Vec<Entry> {
    let lines = TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let columns: Vec<_> = line.split('|').map(str::trim).collect();
            let [id, _, here, tests] = columns[..] else { panic!("{line}") };
            Entry { id, here, tests: tests.split_whitespace().collect() }
        })
        .collect()
}

#[test]
fn has_every_entry_in_its_order() {
    let letters = ["a", "b", "c", "d", "e", "f", "g"];
    let ids = GROUPS.into_iter().flat_map(|(group, count)| {
        (0..count).map(move |n| match group.ends_with('-') {
            true => format!("{group}{}", letters[n]),
            false => format!("{group}{:02}", n + 1),
        })
    });
    let told: Vec<_> = entries().iter().map(|entry| entry.id).collect();
    assert_eq!(told, ids.collect::<Vec<_>>());
}

#[test]
fn says_how_it_is_here() {
    for Entry { id, here, tests } in entries() {
        let why = here.split_once(": ").filter(|(_, why)| !why.is_empty());
        match (here, why) {
            ("same" | "right", _) | (_, Some(("other", _))) => assert!(!tests.is_empty(), "{id}"),
            (_, Some(("missing", _))) => assert!(tests.is_empty(), "{id}"),
            _ => panic!("{id}: {here}"),
        }
    }
}

#[test]
fn names_tests_that_exist_once() {
    let known = test_names();
    for Entry { id, tests, .. } in entries() {
        for test in &tests {
            let is_meant = |name: &&TestName| match test.split_once("::") {
                Some((file, test)) => name.file == file && name.test == test,
                None => name.test == **test,
            };
            let found: Vec<_> = known.iter().filter(is_meant).collect();
            assert_eq!(found.len(), 1, "{id}: {test}: {found:?}");
        }
        assert_eq!(tests.iter().collect::<BTreeSet<_>>().len(), tests.len(), "{id} repeats one");
    }
}
