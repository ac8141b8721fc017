//! HTTP/2, and latency under a rate, by h2load.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::contestant::{Contestant, Field};
use super::load::Answered;

/// Some connections with some streams each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    /// How many connections ask at once.
    pub(super) connections: u32,
    /// How many requests are under way on each.
    pub(super) streams: u32,
}

/// The origin's port that speaks HTTP/2 as well.
const URL: &str = "https://x.bench.test:8443/1k";
/// Where most origins are: HTTP/1.1 with keep-alive.
const HTTP1_URL: &str = "https://x.bench.test/1k";
const CONNECTIONS: u32 = 16;

impl Streams {
    /// Puts the load on one contestant.
    ///
    /// # Errors
    /// When an answer isn't a good one, or wasn't given over HTTP/2.
    pub(super) fn put_on(
        self,
        contestant: Contestant,
        field: &Field,
        seconds: u32,
    ) -> Result<Answered> {
        let connections = format!("-c{}", self.connections);
        let threads = format!("-t{}", self.connections.min(2));
        let streams = format!("-m{}", self.streams);
        let duration = format!("-D{seconds}");
        let client = ["h2load", &connections, &threads, &streams, &duration, URL];
        let outcome = field.measure(contestant, &client)?;
        let report = Report::parse(&outcome.stdout)
            .with_context(|| format!("failed to read what h2load printed: {}", outcome.stdout))?;
        ensure!(report.failures == 0, "{contestant} failed: {}", outcome.stdout);
        ensure!(
            outcome.stdout.contains("Application protocol: h2"),
            "{contestant} didn't speak HTTP/2: {}",
            outcome.stdout
        );
        Ok(Answered {
            per_second: report.per_second,
            usage: outcome.usage,
            answers: report.answers,
        })
    }
}

/// The 99th percentile of the latency in milliseconds, while `per_second` requests are made.
///
/// # Errors
/// When an answer isn't a good one.
pub(super) fn p99(
    contestant: Contestant,
    field: &Field,
    per_second: f64,
    seconds: u32,
) -> Result<f64> {
    let log = field.scratch("latencies");
    fs::write(&log, "")?;
    let connections = format!("-c{CONNECTIONS}");
    let rate = format!("--rps={:.0}", per_second / f64::from(CONNECTIONS));
    let duration = format!("-D{seconds}");
    let file = format!("--log-file={log}");
    let client = ["h2load", "--h1", "-t2", &connections, &rate, &duration, &file, HTTP1_URL];
    let outcome = field.measure(contestant, &client)?;
    let report = Report::parse(&outcome.stdout)
        .with_context(|| format!("failed to read what h2load printed: {}", outcome.stdout))?;
    ensure!(report.failures == 0, "{contestant} failed: {}", outcome.stdout);
    let latencies = fs::read_to_string(&log)?;
    percentile_99(&latencies).context("h2load logged no request")
}

/// Of lines with the start in µs, the status and the duration in µs; in milliseconds.
fn percentile_99(log: &str) -> Option<f64> {
    let duration = |line: &str| line.split('\t').nth(2)?.trim().parse().ok();
    let mut microseconds: Vec<u64> = log.lines().filter_map(duration).collect();
    microseconds.sort_unstable();
    let place = microseconds.len() * 99 / 100;
    let value = u32::try_from(*microseconds.get(place)?).unwrap_or(u32::MAX);
    Some(f64::from(value) / 1000.0)
}

#[derive(PartialEq, Debug)]
struct Report {
    per_second: f64,
    answers: f64,
    failures: u64,
}

impl Report {
    fn parse(text: &str) -> Option<Self> {
        let after = |prefix| text.lines().find_map(|line: &str| line.strip_prefix(prefix));
        let per_second = after("finished in ")?.split(", ").nth(1)?;
        let per_second = per_second.strip_suffix(" req/s")?.parse().ok()?;
        let counts = after("requests: ")?;
        let count = |name| -> Option<u64> {
            counts.split(", ").find_map(|part| part.strip_suffix(name))?.trim().parse().ok()
        };
        let statuses = after("status codes: ")?;
        let bad: Option<u64> = statuses
            .split(", ")
            .filter(|part| !part.ends_with(" 2xx"))
            .map(|part| part.split(' ').next()?.parse::<u64>().ok())
            .sum();
        let answers = u32::try_from(count(" succeeded")?).ok()?;
        Some(Self {
            per_second,
            answers: answers.into(),
            failures: count(" failed")? + count(" errored")? + bad?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Application protocol: h2\n\nfinished in 5.00s, 33012.40 req/s, 35.1MB/s\n\
        requests: 165062 total, 165190 started, 165062 done, 165062 succeeded, 0 failed, 0 errored, \
        0 timeout\nstatus codes: 165062 2xx, 0 3xx, 0 4xx, 0 5xx\n";

    #[test]
    fn reads_a_good_report() {
        let report = Report { per_second: 33_012.4, answers: 165_062.0, failures: 0 };
        assert_eq!(Report::parse(GOOD), Some(report));
    }

    #[test]
    fn counts_what_went_wrong() {
        let bad = GOOD
            .replace("0 failed, 0 errored", "1 failed, 2 errored")
            .replace("0 4xx, 0 5xx", "3 4xx, 4 5xx");
        assert_eq!(Report::parse(&bad).map(|report| report.failures), Some(10));
        assert_eq!(Report::parse("no report"), None);
    }

    #[test]
    fn the_percentile_is_of_the_third_column() {
        let log: String = (1..=100).map(|n| format!("1000\t200\t{}\n", n * 1000)).collect();
        assert_eq!(percentile_99(&log), Some(100.0));
        assert_eq!(percentile_99(""), None);
    }
}
