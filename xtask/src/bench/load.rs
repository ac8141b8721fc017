//! Requests per second, by wrk.

use anyhow::{Context, Result, ensure};

use super::contestant::{Contestant, Field, Outcome};
use super::usage::Usage;

/// One kind of load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// What is asked for.
    pub(super) url: &'static str,
    /// How many connections ask at once.
    pub(super) connections: u32,
    /// Whether a connection is used for more than one request.
    pub(super) reuse: Reuse,
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reuse {
    /// The next request goes over it.
    KeepAlive,
    /// It is closed.
    Close,
}

/// What came of a load.
pub(super) struct Answered {
    /// Good answers per second.
    pub(super) per_second: f64,
    /// What the proxy used.
    pub(super) usage: Option<Usage>,
    /// How many answers came within the load.
    pub(super) answers: f64,
}

impl Load {
    /// Puts the load on one contestant.
    ///
    /// # Errors
    /// When an answer isn't a good one: a fast refusal must not look like speed.
    pub(super) fn put_on(
        self,
        contestant: Contestant,
        field: &Field,
        seconds: u32,
    ) -> Result<Answered> {
        let (report, outcome) = self.report(contestant, field, seconds)?;
        ensure!(
            report.failures == 0,
            "{contestant} failed {} times:\n{}",
            report.failures,
            outcome.stdout
        );
        Ok(Answered {
            per_second: report.per_second,
            usage: outcome.usage,
            answers: report.answers,
        })
    }

    /// Puts the load on one contestant, and tells how many answers were good ones.
    ///
    /// # Errors
    /// When wrk fails.
    pub(super) fn report(
        self,
        contestant: Contestant,
        field: &Field,
        seconds: u32,
    ) -> Result<(Report, Outcome)> {
        let threads = format!("-t{}", self.connections.min(2));
        let connections = format!("-c{}", self.connections);
        let duration = format!("-d{seconds}s");
        let mut client = vec!["wrk", &threads, &connections, &duration];
        if self.reuse == Reuse::Close {
            client.extend(["-H", "Connection: close"]);
        }
        client.push(self.url);
        let outcome = field.measure(contestant, &client)?;
        let report = Report::parse(&outcome.stdout)
            .with_context(|| format!("failed to read what wrk printed:\n{}", outcome.stdout))?;
        Ok((report, outcome))
    }
}

/// What wrk tells.
#[derive(PartialEq, Debug)]
pub(super) struct Report {
    /// Answers per second, whichever they are.
    pub(super) per_second: f64,
    answers: f64,
    /// How many requests had no answer, or not a good one.
    pub(super) failures: u64,
}

impl Report {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let lines = || text.lines().map(str::trim);
        let after = |prefix| lines().find_map(|line: &str| line.strip_prefix(prefix));
        let per_second = after("Requests/sec:")?.trim().parse().ok()?;
        let answers = lines().find(|line| line.contains(" requests in "))?;
        let answers = answers.split(' ').next()?.parse().ok()?;
        let refused =
            after("Non-2xx or 3xx responses:").map_or(Some(0), |n| n.trim().parse().ok())?;
        let broken = after("Socket errors:").map_or(Some(0), socket_errors)?;
        Some(Self { per_second, answers, failures: refused + broken })
    }
}

/// Sums `connect 0, read 1, write 2, timeout 3`. A read that fails after the last answer of a
/// closing connection is counted by wrk as well, so reads don't count here.
fn socket_errors(line: &str) -> Option<u64> {
    let mut sum = 0;
    for part in line.split(',') {
        let (name, count) = part.trim().split_once(' ')?;
        if name != "read" {
            sum += count.parse::<u64>().ok()?;
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "Running 1s test @ http://x/\n  2 threads and 16 connections\n  \
        128000 requests in 1.00s, 100MB read\nRequests/sec: 127999.50\nTransfer/sec: 100MB\n";

    #[test]
    fn reads_a_good_report() {
        let report = Report { per_second: 127_999.5, answers: 128_000.0, failures: 0 };
        assert_eq!(Report::parse(GOOD), Some(report));
    }

    #[test]
    fn counts_refusals_and_broken_connections() {
        let bad = format!(
            "{GOOD}  Socket errors: connect 1, read 2, write 3, timeout 4\n  \
            Non-2xx or 3xx responses: 10\n"
        );
        assert_eq!(Report::parse(&bad).map(|report| report.failures), Some(18));
    }

    #[test]
    fn does_not_take_another_text_for_a_report() {
        assert_eq!(Report::parse("unable to connect to x:443"), None);
    }
}
