//! What it costs to have a program decide, and to keep records.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::contestant::{Contestant, Field, RULE};
use super::load::Report;
use super::report::{Row, Wanted};
use crate::tools;

/// These rows' names.
pub(super) const NAMES: [&str; 2] =
    ["HTTP, 64 connections, with --record", "HTTP, 64 connections, decided by --proc with ids"];

/// Answers each line with its own number, and yes.
const PROGRAM: &str = "\
import sys
out = sys.stdout.buffer
for line in sys.stdin.buffer:
    out.write(line[:line.index(b',')] + b',\"allow\":true}\\n')
    out.flush()
";

/// Requests per second with records and with a program that decides. What records cost is told by
/// pairs of loads that follow one another: a machine's pace changes by more than that in a minute.
///
/// # Errors
/// When a load fails, or an answer isn't a good one.
pub(super) fn rows(field: &Field, rounds: u32, seconds: u32) -> Result<[Row; 3]> {
    let mut kept = Row::new(NAMES[0], "requests/s", Wanted::Open);
    let mut cost = Row::new("⤷ less than without", "%", Wanted::AtMost(5.0));
    let mut decided = Row::new(NAMES[1], "decisions/s", Wanted::AtLeast(20_000.0));
    let (records, program) = (field.scratch("records.jsonl"), field.scratch("rule.py"));
    fs::write(&program, PROGRAM).with_context(|| format!("failed to write {program}"))?;
    let rule = ["--js", RULE];
    let program = format!("python3 {program}");
    for round in 0..rounds {
        let with = || {
            let rate = rate(field, &[&rule[..], &["--record", &records]].concat(), seconds);
            fs::remove_file(&records).with_context(|| format!("failed to remove {records}"))?;
            rate
        };
        let without = || rate(field, &rule, seconds);
        let (with, without) = match round % 2 {
            0 => (with()?, without()?),
            _ => {
                let without = without()?;
                (with()?, without)
            }
        };
        kept.add(Contestant::Httpjail, with);
        cost.add(Contestant::Httpjail, 100.0 * (1.0 - with / without));
        decided.add(Contestant::Httpjail, rate(field, &["--proc", &program], seconds)?);
    }
    Ok([kept, cost, decided])
}

/// Good answers per second in a jail with these options.
fn rate(field: &Field, options: &[&str], seconds: u32) -> Result<f64> {
    let mut command = field.jail_by(options);
    command.args(["--", "wrk", "-t2", "-c64", &format!("-d{seconds}s"), "http://x.bench.test/1k"]);
    let output = tools::output(&mut command)?;
    let report = Report::parse(&output)
        .with_context(|| format!("failed to read what wrk printed:\n{output}"))?;
    ensure!(report.failures == 0, "{} failed:\n{output}", report.failures);
    Ok(report.per_second)
}
