//! What came of a soak, as a text, and whether it is good.

use anyhow::{Result, ensure};

use super::load::Answers;
use super::sample::Sample;
use crate::bench::report;

/// What came of a soak.
#[derive(Default, Debug)]
pub(super) struct Outcome {
    /// How long the load lasted.
    pub(super) minutes: u64,
    /// What the jail under load held, in time.
    pub(super) samples: Vec<Sample>,
    /// The proxy's CPU time in parts of a core.
    pub(super) cpu_share: f64,
    /// What its clients got.
    pub(super) answers: Answers,
    /// How many records it wrote.
    pub(super) records: u64,
    /// How many jails came and went beside it.
    pub(super) jails: u64,
    /// How many of those failed.
    pub(super) bad_jails: u64,
    /// What was left at the end.
    pub(super) left: Vec<String>,
}

/// In how many parts the time is told.
const PARTS: usize = 6;

/// How much more memory the last part may take than the second; the first is the warm-up.
const GROWTH: f64 = 1.1;

type Row = (&'static str, fn(&Sample) -> f64);

const ROWS: [Row; 7] = [
    ("proxy: resident memory, MB", |sample| sample.proxy_resident / 1024.0),
    ("proxy: share of memory (PSS), MB", |sample| sample.proxy_share / 1024.0),
    ("proxy: open descriptors", |sample| sample.proxy_descriptors),
    ("proxy: threads", |sample| sample.proxy_threads),
    ("supervisor: resident memory, MB", |sample| sample.supervisor_resident / 1024.0),
    ("supervisor: open descriptors", |sample| sample.supervisor_descriptors),
    ("the jail's entries in the map of connections", |sample| sample.flows),
];

/// One sample in one line, for those who wait.
pub(super) fn line(sample: &Sample) -> String {
    ROWS.map(|(name, value)| format!("{name} {:.1}", value(sample))).join("; ")
}

/// The text for the document.
pub(super) fn text(outcome: &Outcome) -> Result<String> {
    let Outcome { minutes, answers, records, jails, bad_jails, left, .. } = outcome;
    let mut lines = vec![
        format!("{}; {minutes} minutes.", report::machine()?),
        String::new(),
        format!(
            "Requests with an answer in the jail under load: **{}**; records: **{records}**; other \
             answers than the rule wants: **{}**. Jails that came and went beside it, with a request \
             allowed and one denied: **{jails}**, of which **{bad_jails}** failed. Left at the end \
             (cgroups, run folders, map entries): **{}**. The proxy took {:.1} % of a core.",
            answers.all,
            if answers.bad.is_empty() { "0".to_owned() } else { answers.bad.join(", ") },
            left.len(),
            outcome.cpu_share * 100.0,
        ),
        String::new(),
        counts(answers),
        String::new(),
    ];
    lines.extend(rows(outcome));
    Ok(lines.join("\n"))
}

fn counts(answers: &Answers) -> String {
    let counts = answers.good.iter().map(|(name, count)| format!("{name}: {count}"));
    format!("{}.", counts.collect::<Vec<_>>().join("; "))
}

/// A line for each thing that is sampled: its mean in each part of the time.
fn rows(outcome: &Outcome) -> Vec<String> {
    let parts = parts(&outcome.samples);
    let ends = (1..=parts.len() as u64).map(|part| part * outcome.minutes / PARTS as u64);
    let head: Vec<_> = ends.map(|end| format!("to {end} min")).collect();
    let mut lines = vec![
        format!("| mean of the time | {} |", head.join(" | ")),
        format!("|---|{}", "---|".repeat(parts.len())),
    ];
    lines.extend(ROWS.iter().map(|(name, value)| {
        let cells: Vec<_> = parts.iter().map(|part| format!("{:.1}", value(part))).collect();
        format!("| {name} | {} |", cells.join(" | "))
    }));
    lines
}

fn parts(samples: &[Sample]) -> Vec<Sample> {
    let length = samples.len().div_ceil(PARTS).max(1);
    samples.chunks(length).map(Sample::mean).collect()
}

/// Whether nothing was lost, left, wrong or growing.
///
/// # Errors
/// Says what was.
pub(super) fn judge(outcome: &Outcome) -> Result<()> {
    let Outcome { answers, records, bad_jails, left, .. } = outcome;
    ensure!(answers.bad.is_empty(), "unexpected answers: {}", answers.bad.join(", "));
    ensure!(answers.all == *records, "{} requests, but {records} records", answers.all);
    ensure!(*bad_jails == 0, "{bad_jails} jails failed");
    ensure!(left.is_empty(), "left: {}", left.join(", "));
    let parts = parts(&outcome.samples);
    if let ([_, second, ..], Some(last)) = (parts.as_slice(), parts.last()) {
        for (name, value) in ROWS {
            let (before, after) = (value(second), value(last));
            ensure!(after <= before * GROWTH + 1.0, "{name} grew from {before:.1} to {after:.1}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(resident: impl Fn(usize) -> f64) -> Outcome {
        let sample = |n| Sample { proxy_resident: resident(n) * 1024.0, ..Sample::default() };
        Outcome { minutes: 60, samples: (0..12).map(sample).collect(), ..Outcome::default() }
    }

    #[test]
    fn takes_the_warm_up_for_no_growth() {
        assert!(judge(&outcome(|n| if n < 2 { 5.0 } else { 20.0 })).is_ok());
    }

    #[test]
    fn tells_what_grows() {
        let error = judge(&outcome(|n| 20.0 + n as f64)).unwrap_err();
        assert!(error.to_string().starts_with("proxy: resident memory, MB grew"), "{error}");
    }

    #[test]
    fn tells_what_was_lost() {
        let lost = Outcome { records: 9, ..outcome(|_| 1.0) };
        assert_eq!(judge(&lost).unwrap_err().to_string(), "0 requests, but 9 records");
    }

    #[test]
    fn tells_each_part_of_the_time() {
        let rows = rows(&outcome(|n| n as f64));
        assert_eq!(
            rows[0],
            "| mean of the time | to 10 min | to 20 min | to 30 min | to 40 min | to 50 min | to 60 min |"
        );
        assert_eq!(rows[2], "| proxy: resident memory, MB | 0.5 | 2.5 | 4.5 | 6.5 | 8.5 | 10.5 |");
    }
}
