//! `cargo xtask escape`: the tests of every known way out of a jail.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{test, tools};

mod catalogue;
mod report;

use catalogue::Entry;

/// Arguments of `cargo xtask escape`.
#[derive(Args)]
pub(crate) struct EscapeArgs {
    /// Write what came of each entry to docs/security-tests.md.
    #[arg(long)]
    report: bool,
}

/// Runs the tests that the catalogue names, and tells what came of each entry.
///
/// # Errors
/// When a test fails, or can't run.
pub(crate) fn escape(args: &EscapeArgs) -> Result<()> {
    let entries = catalogue::entries()?;
    let tests: BTreeSet<_> = entries.iter().flat_map(|entry| entry.tests.iter().copied()).collect();
    let mut nextest = test::nextest()?;
    nextest.args(["--no-fail-fast", "--status-level", "pass", "--color", "never"]);
    nextest.arg("--filterset").arg(filter(&tests));
    let passed = passed(&mut nextest)?;
    print!("{}", report::summary(&entries, &passed));
    if args.report {
        report::write(&entries, &passed)?;
    }
    let failed: Vec<_> = tests.iter().filter(|test| !passed.contains(**test)).copied().collect();
    ensure!(failed.is_empty(), "these did not pass: {}", failed.join(", "));
    Ok(())
}

/// What nextest calls the set of all tests whose last name is one of these.
fn filter(tests: &BTreeSet<&str>) -> String {
    let names: Vec<_> = tests.iter().copied().collect();
    format!("test(/(^|::)({})$/)", names.join("|"))
}

/// Runs nextest, shows what it says, and returns the last names of the tests that passed.
fn passed(nextest: &mut Command) -> Result<BTreeSet<String>> {
    let mut child = nextest
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {}", tools::line(nextest)))?;
    let stderr = child.stderr.take().context("failed to read what nextest says")?;
    let mut passed = BTreeSet::new();
    for line in BufReader::new(stderr).lines() {
        let line = line.context("failed to read what nextest says")?;
        eprintln!("{line}");
        passed.extend(passed_test(&line).map(str::to_owned));
    }
    // Its status says what the names say: whether all have passed.
    child.wait().context("failed to wait for nextest")?;
    Ok(passed)
}

/// The last name of the test in a line such as `PASS [ 0.1s] (1/9) PROGRAM MODULE::NAME`.
fn passed_test(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("PASS [")?;
    let name = rest.split_whitespace().next_back()?;
    name.rsplit("::").next()
}

/// How an entry came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It has no test.
    Untried,
    /// All its tests have passed.
    Passed,
    /// Not all of them have.
    Failed,
}

impl Outcome {
    fn of(entry: &Entry, passed: &BTreeSet<String>) -> Self {
        if entry.tests.is_empty() {
            return Self::Untried;
        }
        let all = entry.tests.iter().all(|test| passed.contains(*test));
        if all { Self::Passed } else { Self::Failed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_nextest_says() {
        let line = "        PASS [   0.123s] (12/34) httpjail-tests::escape network::a08_srv6";
        assert_eq!(passed_test(line), Some("a08_srv6"));
        assert_eq!(passed_test(&line.replace("PASS", "FAIL")), None);
        assert_eq!(passed_test("PASSED [ 0.1s] x y"), None);
    }

    #[test]
    fn asks_for_whole_names() {
        assert_eq!(filter(&BTreeSet::from(["a", "b"])), "test(/(^|::)(a|b)$/)");
    }
}
