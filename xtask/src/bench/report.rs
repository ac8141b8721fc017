//! The table of medians and ratios, on standard output and in docs/performance.md.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::args::BenchArgs;
use super::contestant::Contestant;
use super::median::{brief, median};
use super::profile::Costs;
use crate::tools;

/// What a figure of httpjail shall reach.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// Nothing in particular.
    Open,
    /// At least so many times that without a jail.
    OfNoJail(f64),
    /// At least so many times squid's, and so many times that without a jail.
    OfBoth {
        /// Of squid's.
        squid: f64,
        /// Of that without a jail.
        no_jail: f64,
    },
    /// At most so many times that without a jail.
    UpToNoJail(f64),
    /// Less than so much more than without a jail.
    AboveNoJail(f64),
    /// Less than so much.
    AtMost(f64),
    /// At least so much.
    AtLeast(f64),
}

/// One line of the table.
pub(super) struct Row {
    name: String,
    unit: &'static str,
    wanted: Wanted,
    values: [Vec<f64>; Contestant::ALL.len()],
    gave_up: Vec<Contestant>,
    notes: Vec<String>,
}

impl Row {
    pub(super) fn new(name: impl Into<String>, unit: &'static str, wanted: Wanted) -> Self {
        Self {
            name: name.into(),
            unit,
            wanted,
            values: Default::default(),
            gave_up: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, contestant: Contestant, value: f64) {
        self.values[contestant as usize].push(value);
    }

    /// Measures a contestant. A rival that fails is noted and left out of this row from then on,
    /// which is no result.
    ///
    /// # Errors
    /// When httpjail, or a client without a jail, fails.
    pub(super) fn attempt<T>(
        &mut self,
        contestant: Contestant,
        measure: impl FnOnce() -> Result<T>,
    ) -> Result<Option<T>> {
        if self.gave_up.contains(&contestant) {
            return Ok(None);
        }
        match measure() {
            Ok(measured) => Ok(Some(measured)),
            Err(error) if contestant.is_rival() => {
                self.values[contestant as usize].clear();
                self.gave_up.push(contestant);
                self.notes.push(format!("{contestant}, {}: {}", self.name, reason(&error)));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// This row without the figures of those who gave up on another.
    pub(super) fn without_those_of(mut self, other: &Self) -> Self {
        for contestant in &other.gave_up {
            self.values[*contestant as usize].clear();
        }
        self
    }

    /// The row in one line, for those who wait.
    pub(super) fn summary(&self) -> String {
        let medians = Contestant::ALL.iter().filter_map(|contestant| {
            Some(format!("{contestant} {}", brief(self.median(*contestant)?)))
        });
        let notes: String = self.notes.iter().map(|note| format!("; {note}")).collect();
        format!("{}: {} {}{notes}", self.name, medians.collect::<Vec<_>>().join(", "), self.unit)
    }

    /// Whether this is the row of that name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// The median of what was measured of a contestant.
    pub(super) fn median(&self, contestant: Contestant) -> Option<f64> {
        median(&self.values[contestant as usize])
    }

    fn markdown(&self) -> String {
        let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), brief);
        let [no_jail, squid, mitmproxy, httpjail] =
            Contestant::ALL.map(|contestant| self.median(contestant));
        let ratio = |other: Option<f64>| Some(httpjail? / other?);
        let cells = [
            format!("{}, {}", self.name, self.unit),
            cell(no_jail),
            cell(squid),
            cell(mitmproxy),
            format!("**{}**", cell(httpjail)),
            cell(ratio(no_jail)),
            cell(ratio(squid)),
            cell(ratio(mitmproxy)),
            self.verdict(no_jail, squid, httpjail),
        ];
        format!("| {} |", cells.join(" | "))
    }

    fn verdict(&self, no_jail: Option<f64>, squid: Option<f64>, httpjail: Option<f64>) -> String {
        let (text, reached) = match self.wanted {
            Wanted::Open => return String::new(),
            Wanted::OfNoJail(factor) => {
                (format!("≥ {factor} × no jail"), at_least(httpjail, no_jail.map(|n| n * factor)))
            }
            Wanted::OfBoth { squid: of_squid, no_jail: of_no_jail } => {
                let squid = at_least(httpjail, squid.map(|s| s * of_squid));
                let no_jail = at_least(httpjail, no_jail.map(|n| n * of_no_jail));
                let both = squid.zip(no_jail).map(|(squid, no_jail)| squid && no_jail);
                (format!("≥ {of_squid} × squid, {of_no_jail} × no jail"), both)
            }
            Wanted::UpToNoJail(factor) => {
                (format!("≤ {factor} × no jail"), at_least(no_jail.map(|n| n * factor), httpjail))
            }
            Wanted::AboveNoJail(more) => {
                (format!("< no jail + {more}"), at_least(no_jail.map(|n| n + more), httpjail))
            }
            Wanted::AtMost(0.0) => ("none".to_owned(), at_least(Some(0.0), httpjail)),
            Wanted::AtMost(most) => (format!("< {most}"), at_least(Some(most), httpjail)),
            Wanted::AtLeast(least) => (format!("≥ {least}"), at_least(httpjail, Some(least))),
        };
        match reached {
            Some(true) => format!("{text}: yes"),
            Some(false) => format!("{text}: **no**"),
            None => text,
        }
    }
}

fn at_least(value: Option<f64>, bound: Option<f64>) -> Option<bool> {
    Some(value? >= bound?)
}

/// What an error says before it goes into details, which follow on further lines.
fn reason(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    text.lines().next().unwrap_or_default().trim_end_matches(':').to_owned()
}

/// Prints the table with `notes` under it, and writes it into the document if asked to.
pub(super) fn publish(rows: &[Row], notes: &[String], args: &BenchArgs) -> Result<()> {
    let notes = notes.iter().chain(rows.iter().flat_map(|row| &row.notes));
    let notes: String = notes.map(|note| format!("\n- {note}")).collect();
    let head = if notes.is_empty() { "" } else { "\n\nRivals that didn't do it:\n" };
    let table = format!("{}{head}{notes}", table(rows, args)?);
    println!("{table}");
    if args.write { write("figures", &table) } else { Ok(()) }
}

/// Prints the largest costs of each row, and writes them into the document if asked to.
pub(super) fn publish_costs(profiles: &[(String, Costs)], args: &BenchArgs) -> Result<()> {
    let lines: Vec<_> = profiles.iter().map(|(name, costs)| costs_line(name, costs)).collect();
    let table = format!("{}.\n\n{COSTS_HEAD}\n{}", machine()?, lines.join("\n"));
    println!("{table}");
    if args.write { write("costs", &table) } else { Ok(()) }
}

const COSTS_HEAD: &str = "| | largest cost | second | third |\n|---|---|---|---|";

fn costs_line(name: &str, costs: &Costs) -> String {
    let mut cells = vec![name.to_owned()];
    for (cost, share) in costs.largest().into_iter().take(3) {
        cells.push(format!("{cost}, {:.0} %", share * 100.0));
    }
    format!("| {} |", cells.join(" | "))
}

/// Puts a text into the document's place of this name.
pub(super) fn write(place: &str, text: &str) -> Result<()> {
    let file = tools::workspace().join("docs/performance.md");
    let document =
        fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let document = replace(&document, place, text)
        .with_context(|| format!("the document has no place for {place}"))?;
    fs::write(&file, document).with_context(|| format!("failed to write {}", file.display()))
}

fn table(rows: &[Row], args: &BenchArgs) -> Result<String> {
    let lines: Vec<_> = rows.iter().map(Row::markdown).collect();
    Ok(format!("{}\n\n{HEAD}\n{}", conditions(args)?, lines.join("\n")))
}

const HEAD: &str = "| | no jail | squid | mitmproxy | httpjail | of no jail | of squid | of mitmproxy | wanted |\n\
    |---|---|---|---|---|---|---|---|---|";

fn conditions(args: &BenchArgs) -> Result<String> {
    Ok(format!(
        "{}; medians of {} rounds of {} s, and of {} starts, in alternation.",
        machine()?,
        args.rounds,
        args.seconds,
        args.starts,
    ))
}

/// When and on what was measured.
pub(super) fn machine() -> Result<String> {
    let date = tools::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let cores = std::thread::available_parallelism()?;
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let processor = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(':').nth(1))
        .map_or("unknown processor", str::trim);
    Ok(format!(
        "{}, Linux {}, {cores} cores of {processor}, shared by client, proxy and origin",
        date.trim(),
        kernel.trim(),
    ))
}

fn replace(document: &str, place: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {place}: begin -->"), format!("<!-- {place}: end -->"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{text}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    fn both(squid: f64, no_jail: f64) -> Wanted {
        Wanted::OfBoth { squid, no_jail }
    }

    fn row(wanted: Wanted, values: [f64; 4]) -> Row {
        let mut row = Row::new("load", "requests/s", wanted);
        for (contestant, value) in Contestant::ALL.into_iter().zip(values) {
            row.add(contestant, value);
        }
        row
    }

    #[test]
    fn a_row_tells_medians_ratios_and_whether_it_reached_what_was_wanted() {
        assert_eq!(
            row(both(2.0, 0.4), [90_000.0, 15_000.0, 900.0, 45_000.0]).markdown(),
            "| load, requests/s | 90.0k | 15.0k | 900 | **45.0k** | 0.50 | 3.00 | 50.0 | ≥ 2 × squid, 0.4 × no jail: yes |"
        );
        assert_eq!(
            row(Wanted::OfNoJail(0.7), [4000.0, 300.0, 100.0, 2000.0]).markdown(),
            "| load, requests/s | 4000 | 300 | 100 | **2000** | 0.50 | 6.67 | 20.0 | ≥ 0.7 × no jail: **no** |"
        );
    }

    #[test]
    fn what_was_not_measured_stays_open() {
        let mut row = Row::new("load", "ms", Wanted::UpToNoJail(2.0));
        row.add(Contestant::NoJail, 1.0);
        assert_eq!(
            row.markdown(),
            "| load, ms | 1.00 | – | – | **–** | – | – | – | ≤ 2 × no jail |"
        );
    }

    #[test]
    fn a_rival_that_fails_has_no_figure_but_a_note() {
        let mut row = row(Wanted::Open, [4.0, 3.0, 1.0, 2.0]);
        let fail = || -> Result<()> { bail!("failed 2 times:\nRunning 1s test\n") };
        assert!(row.attempt(Contestant::Squid, fail).unwrap().is_none());
        assert!(row.attempt(Contestant::Squid, || Ok(3.0)).unwrap().is_none());

        assert_eq!(
            row.markdown(),
            "| load, requests/s | 4.00 | – | 1.00 | **2.00** | 0.50 | – | 2.00 |  |"
        );
        assert_eq!(row.notes, ["squid, load: failed 2 times"]);
        let mut cpu = Row::new("cpu", "s", Wanted::Open);
        cpu.add(Contestant::Squid, 1.0);
        assert_eq!(cpu.without_those_of(&row).median(Contestant::Squid), None);
    }

    #[test]
    fn a_failure_of_anybody_else_is_an_error() {
        for contestant in [Contestant::NoJail, Contestant::Httpjail] {
            let mut row = Row::new("load", "ms", Wanted::Open);
            assert!(row.attempt(contestant, || -> Result<()> { bail!("failed") }).is_err());
        }
    }

    #[test]
    fn a_text_replaces_what_was_in_its_place_and_nothing_else() {
        let document = |text: &str| {
            format!(
                "head\n<!-- a: begin -->\n{text}\n<!-- a: end -->\n<!-- b: begin -->\n<!-- b: end -->"
            )
        };
        assert_eq!(replace(&document("old"), "a", "new"), Some(document("new")));
        assert_eq!(replace("no place", "a", "new"), None);
    }
}
