//! What is measured, in which order.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::arena;
use super::args::BenchArgs;
use super::contestant::{Contestant, Field};
use super::crowd;
use super::deciding;
use super::load::{Answered, Load, Reuse};
use super::profile::{Costs, Recording};
use super::report::{self, Row, Wanted};
use super::startup;
use super::streams::{self, Streams};
use super::sustained;
use super::transfer::{OPAQUE, Way, cpu_seconds_per_gib};
use crate::setup::{self, Purpose};

/// Builds what is measured, and measures it in an arena of its own.
///
/// # Errors
/// Returns only when something failed before the measuring began.
pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    setup::ensure(Purpose::Bench)?;
    let httpjail = if args.has(Contestant::Httpjail) {
        arena::binary(args.httpjail.as_deref())?
    } else {
        PathBuf::from("/bin/true")
    };
    let inside = [vec!["bench-inside".into()], args.with_binary(httpjail.clone())].concat();
    arena::enter(&httpjail, &inside)
}

/// Measures everything from inside the arena and prints the table.
///
/// # Errors
/// When a server can't be started, or an answer isn't what it should be.
pub(crate) fn inside(args: &BenchArgs) -> Result<()> {
    let httpjail = args.httpjail.as_deref().context("no binary to measure")?;
    let contestants =
        if args.profile { &[Contestant::Httpjail][..] } else { args.contestants.as_slice() };
    let field = Field::prepare(httpjail, contestants)?;
    let mut suite = Suite { args, field, rows: Vec::new(), profiles: Vec::new() };
    suite.starts()?;
    for load in LOADS {
        suite.load(load)?;
    }
    for (name, streams) in STREAMS {
        suite.streams(name, streams)?;
    }
    for (name, way, scheme, wanted) in TRANSFERS {
        suite.transfer(name, way, scheme, wanted)?;
    }
    if args.profile {
        return report::publish_costs(&suite.profiles, args);
    }
    suite.latency()?;
    suite.sustained()?;
    suite.crowd()?;
    suite.deciding()?;
    report::publish(&suite.rows, suite.field.notes(), args)
}

const LOADS: [NamedLoad; 11] = {
    const HTTPS: &str = "https://x.bench.test/1k";
    const HTTP: &str = "http://x.bench.test/1k";
    const HTTPS_WANTED: Wanted = Wanted::OfBoth { squid: 3.0, no_jail: 0.45 };
    const HTTP_WANTED: Wanted = Wanted::OfBoth { squid: 3.5, no_jail: 0.42 };
    // With more than 64 connections, squid leaves some without an answer for seconds.
    const NOBODY: Rivals = &[];
    const SQUID: Rivals = &[Contestant::Squid];
    const BOTH: Rivals = &[Contestant::Squid, Contestant::Mitmproxy];
    use Reuse::{Close, KeepAlive};
    use Wanted::{OfNoJail, Open};
    [
        load("HTTPS keep-alive, 1 connection", HTTPS, 1, KeepAlive, SQUID, Open),
        load("HTTPS keep-alive, 16 connections", HTTPS, 16, KeepAlive, BOTH, HTTPS_WANTED),
        load("HTTPS keep-alive, 64 connections", HTTPS, 64, KeepAlive, BOTH, HTTPS_WANTED),
        load("HTTP keep-alive, 1 connection", HTTP, 1, KeepAlive, SQUID, Open),
        load("HTTP keep-alive, 16 connections", HTTP, 16, KeepAlive, BOTH, HTTP_WANTED),
        load("HTTP keep-alive, 64 connections", HTTP, 64, KeepAlive, BOTH, HTTP_WANTED),
        load("HTTP keep-alive, 10 connections", HTTP, 10, KeepAlive, SQUID, Open),
        load("HTTP keep-alive, 100 connections", HTTP, 100, KeepAlive, NOBODY, Open),
        load("HTTP keep-alive, 1000 connections", HTTP, 1000, KeepAlive, NOBODY, Open),
        load("HTTPS, new connection each, 16 at a time", HTTPS, 16, Close, BOTH, OfNoJail(1.0)),
        load("HTTP, new connection each, 16 at a time", HTTP, 16, Close, BOTH, Open),
    ]
};

const STREAMS: [(&str, Streams); 2] = [
    ("HTTPS h2, 16 connections × 8 streams", Streams { connections: 16, streams: 8 }),
    ("HTTPS h2, 1 connection × 64 streams", Streams { connections: 1, streams: 64 }),
];

const DOWNLOAD_WANTED: Wanted = Wanted::OfBoth { squid: 1.5, no_jail: 0.52 };
const TRANSFERS: [(&str, Way, &str, Wanted); 5] = [
    ("1 GiB HTTPS download", Way::Download, "https", DOWNLOAD_WANTED),
    ("1 GiB HTTPS upload", Way::Upload, "https", Wanted::OfNoJail(0.52)),
    ("1 GiB HTTP download", Way::Download, "http", Wanted::OfNoJail(0.6)),
    ("1 GiB HTTP upload", Way::Upload, "http", Wanted::Open),
    ("1 GiB opaque TCP download", Way::Download, OPAQUE, Wanted::OfNoJail(0.6)),
];

/// The rivals that take part in a measurement.
type Rivals = &'static [Contestant];

struct NamedLoad {
    name: &'static str,
    load: Load,
    rivals: Rivals,
    wanted: Wanted,
}

const fn load(
    name: &'static str,
    url: &'static str,
    connections: u32,
    reuse: Reuse,
    rivals: Rivals,
    wanted: Wanted,
) -> NamedLoad {
    NamedLoad { name, load: Load { url, connections, reuse }, rivals, wanted }
}

struct Suite<'a> {
    args: &'a BenchArgs,
    field: Field,
    rows: Vec<Row>,
    /// What each row's work was.
    profiles: Vec<(String, Costs)>,
}

type Start = fn(Contestant, &Field) -> Result<f64>;

impl Suite<'_> {
    fn starts(&mut self) -> Result<()> {
        let measurements: [(&'static str, Start, Wanted); 3] = [
            ("`true`, start to end", startup::of_true, Wanted::AboveNoJail(5.0)),
            ("`curl`, 1 KiB over HTTPS", startup::of_curl, Wanted::Open),
            ("20 such `curl` at once", startup::of_many, Wanted::UpToNoJail(2.5)),
        ];
        for (name, start, wanted) in measurements {
            if !self.is_wanted(name) {
                continue;
            }
            let mut row = Row::new(name, "ms", wanted);
            let recording = self.record()?;
            for round in 0..self.args.starts {
                // A rival has no part in a start: it runs already.
                for contestant in self.turn(round, &[]) {
                    row.add(contestant, start(contestant, &self.field)?);
                }
            }
            self.keep(name, recording)?;
            self.finish(row);
        }
        Ok(())
    }

    fn load(&mut self, NamedLoad { name, load, rivals, wanted }: NamedLoad) -> Result<()> {
        self.rate(name, wanted, rivals, |contestant, field, seconds| {
            load.put_on(contestant, field, seconds)
        })
    }

    fn streams(&mut self, name: &str, streams: Streams) -> Result<()> {
        // squid speaks no HTTP/2 to its clients.
        let wanted = Wanted::OfNoJail(0.35);
        self.rate(name, wanted, &[Contestant::Mitmproxy], |contestant, field, seconds| {
            streams.put_on(contestant, field, seconds)
        })
    }

    /// A minute of new connections with the ports that a system has, unlike the other loads.
    fn sustained(&mut self) -> Result<()> {
        for (name, url) in [
            ("HTTPS, new connection each, for 60 s", "https://x.bench.test/1k"),
            ("HTTP, new connection each, for 60 s", "http://x.bench.test/1k"),
        ] {
            let is_asked_for = self.args.write || self.args.only.is_some();
            if !is_asked_for || !self.is_wanted(name) || !self.args.has(Contestant::Httpjail) {
                continue;
            }
            let answered = sustained::minute(&self.field, url)?;
            let mut row = Row::new(name, "requests/s", Wanted::Open);
            row.add(Contestant::Httpjail, answered.per_second);
            let mut errors = Row::new("⤷ errors", "requests", Wanted::AtMost(0.0));
            errors.add(Contestant::Httpjail, answered.failures);
            self.finish_with(row, [errors]);
        }
        Ok(())
    }

    /// Requests per second, and what each takes of the proxy's CPU time.
    fn rate(
        &mut self,
        name: &str,
        wanted: Wanted,
        rivals: Rivals,
        put_on: impl Fn(Contestant, &Field, u32) -> Result<Answered>,
    ) -> Result<()> {
        if !self.is_wanted(name) {
            return Ok(());
        }
        let mut row = Row::new(name, "requests/s", wanted);
        let mut cpu = Row::new("⤷ proxy CPU per request", "µs", Wanted::Open);
        let recording = self.record()?;
        for round in 0..self.args.rounds {
            for contestant in self.turn(round, rivals) {
                let Some(answered) =
                    row.attempt(contestant, || put_on(contestant, &self.field, self.args.seconds))?
                else {
                    continue;
                };
                row.add(contestant, answered.per_second);
                if let Some(usage) = answered.usage {
                    cpu.add(contestant, usage.cpu_seconds * 1e6 / answered.answers);
                }
            }
        }
        self.keep(name, recording)?;
        self.finish_with(row, [cpu]);
        Ok(())
    }

    /// At half of the highest rate that the jail reached with 16 connections.
    fn latency(&mut self) -> Result<()> {
        const NAME: &str = "HTTPS p99 latency at half of the top rate";
        let top = self.rows.iter().find(|row| row.is("HTTPS keep-alive, 16 connections"));
        let Some(top) = top.and_then(|row| row.median(Contestant::Httpjail)) else {
            return Ok(());
        };
        if !self.is_wanted(NAME) {
            return Ok(());
        }
        let mut row = Row::new(NAME, "ms", Wanted::AboveNoJail(3.0));
        for round in 0..self.args.rounds {
            for contestant in self.turn(round, &[]) {
                let seconds = self.args.seconds;
                row.add(contestant, streams::p99(contestant, &self.field, top / 2.0, seconds)?);
            }
        }
        self.finish(row);
        Ok(())
    }

    fn transfer(&mut self, name: &str, way: Way, scheme: &str, wanted: Wanted) -> Result<()> {
        if !self.is_wanted(name) {
            return Ok(());
        }
        let mut row = Row::new(name, "MB/s", wanted);
        let mut cpu = Row::new("⤷ proxy CPU", "s/GiB", Wanted::AtMost(0.9));
        let mut peak = Row::new("⤷ proxy peak memory", "MB", Wanted::AtMost(25.0));
        let recording = self.record()?;
        for round in 0..self.args.rounds {
            // squid intercepts the ports of HTTP alone.
            let rivals: Rivals = match scheme {
                OPAQUE => &[Contestant::Mitmproxy],
                _ => &[Contestant::Squid, Contestant::Mitmproxy],
            };
            for contestant in self.turn(round, rivals) {
                let Some(transferred) =
                    row.attempt(contestant, || way.take(contestant, &self.field, scheme))?
                else {
                    continue;
                };
                row.add(contestant, transferred.megabytes_per_second);
                if let Some(usage) = transferred.usage {
                    cpu.add(contestant, cpu_seconds_per_gib(usage));
                    peak.add(contestant, usage.peak_megabytes);
                }
            }
        }
        self.keep(name, recording)?;
        self.finish_with(row, [cpu, peak]);
        Ok(())
    }

    /// What jails weigh.
    fn crowd(&mut self) -> Result<()> {
        type Weigh = fn(&Field) -> Result<f64>;
        let weights: [(&str, Weigh, f64); 3] = [
            ("memory of an idle jail", crowd::idle_megabytes, 20.0),
            ("memory of a jail, 1000 busy connections", |f| crowd::busy_megabytes(f, 1000), 80.0),
            ("memory of each of 300 jails at once", crowd::many, 10.0),
        ];
        for (name, weigh, most) in weights {
            if self.is_wanted(name) && self.args.has(Contestant::Httpjail) {
                let mut row = Row::new(name, "MB", Wanted::AtMost(most));
                row.add(Contestant::Httpjail, weigh(&self.field)?);
                self.finish(row);
            }
        }
        Ok(())
    }

    /// Samples from now on, if that was asked for.
    fn record(&self) -> Result<Option<Recording>> {
        self.args.profile.then(|| Recording::start(self.field.folder())).transpose()
    }

    /// Keeps what was sampled during a row.
    fn keep(&mut self, name: &str, recording: Option<Recording>) -> Result<()> {
        if let Some(recording) = recording {
            self.profiles.push((name.to_owned(), recording.stop()?));
        }
        Ok(())
    }

    /// What programs that decide, and records, cost.
    fn deciding(&mut self) -> Result<()> {
        if self.args.has(Contestant::Httpjail)
            && deciding::NAMES.iter().any(|name| self.is_wanted(name))
        {
            for row in deciding::rows(&self.field, self.args.rounds, self.args.seconds)? {
                self.finish(row);
            }
        }
        Ok(())
    }

    /// Who is measured in which order: every round begins with another one. mitmproxy, which is
    /// far from the others, has one round.
    fn turn(&self, round: u32, rivals: Rivals) -> Vec<Contestant> {
        let mut order = self.field.contestants().to_vec();
        let first = round as usize % order.len().max(1);
        order.rotate_left(first);
        order.retain(|contestant| !contestant.is_rival() || rivals.contains(contestant));
        order.retain(|contestant| *contestant != Contestant::Mitmproxy || round == 0);
        order
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.args.only.as_ref().is_none_or(|word| name.contains(word.as_str()))
    }

    /// Adds a row and those that tell more of the same measurements.
    fn finish_with(&mut self, row: Row, more: impl IntoIterator<Item = Row>) {
        let more: Vec<_> = more.into_iter().map(|more| more.without_those_of(&row)).collect();
        for row in [row].into_iter().chain(more) {
            self.finish(row);
        }
    }

    fn finish(&mut self, row: Row) {
        eprintln!("{}", row.summary());
        self.rows.push(row);
    }
}
