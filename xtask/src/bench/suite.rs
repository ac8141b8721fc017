//! What is measured, in which order.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::arena;
use super::args::BenchArgs;
use super::contestant::{Contestant, Field};
use super::crowd;
use super::deciding;
use super::load::{Answered, Load, Reuse};
use super::report::{self, Row, Wanted};
use super::startup;
use super::streams::{self, Streams};
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
    let field = Field::prepare(httpjail, &args.contestants)?;
    let mut suite = Suite { args, field, rows: Vec::new() };
    suite.starts()?;
    for load in LOADS {
        suite.load(load)?;
    }
    for (name, streams) in STREAMS {
        suite.streams(name, streams)?;
    }
    suite.latency()?;
    for (name, way, scheme, wanted) in TRANSFERS {
        suite.transfer(name, way, scheme, wanted)?;
    }
    suite.crowd()?;
    suite.deciding()?;
    report::publish(&suite.rows, args)
}

const LOADS: [NamedLoad; 11] = {
    const HTTPS: &str = "https://x.bench.test/1k";
    const HTTP: &str = "http://x.bench.test/1k";
    const HTTPS_WANTED: Wanted = Wanted::OfBoth { squid: 3.0, no_jail: 0.45 };
    const HTTP_WANTED: Wanted = Wanted::OfBoth { squid: 3.5, no_jail: 0.42 };
    use Reuse::{Close, KeepAlive};
    use Wanted::{OfNoJail, Open};
    [
        NamedLoad::new("HTTPS keep-alive, 1 connection", HTTPS, 1, KeepAlive, Open),
        NamedLoad::new("HTTPS keep-alive, 16 connections", HTTPS, 16, KeepAlive, HTTPS_WANTED),
        NamedLoad::new("HTTPS keep-alive, 64 connections", HTTPS, 64, KeepAlive, HTTPS_WANTED),
        NamedLoad::new("HTTP keep-alive, 1 connection", HTTP, 1, KeepAlive, Open),
        NamedLoad::new("HTTP keep-alive, 16 connections", HTTP, 16, KeepAlive, HTTP_WANTED),
        NamedLoad::new("HTTP keep-alive, 64 connections", HTTP, 64, KeepAlive, HTTP_WANTED),
        NamedLoad::new("HTTP keep-alive, 10 connections", HTTP, 10, KeepAlive, Open),
        NamedLoad::new("HTTP keep-alive, 100 connections", HTTP, 100, KeepAlive, Open),
        NamedLoad::new("HTTP keep-alive, 1000 connections", HTTP, 1000, KeepAlive, Open),
        NamedLoad::new("HTTPS, new connection each, 16 at a time", HTTPS, 16, Close, OfNoJail(1.0)),
        NamedLoad::new("HTTP, new connection each, 16 at a time", HTTP, 16, Close, Open),
    ]
};

const STREAMS: [(&str, Streams); 2] = [
    ("HTTPS h2, 16 connections × 8 streams", Streams { connections: 16, streams: 8 }),
    ("HTTPS h2, 1 connection × 64 streams", Streams { connections: 1, streams: 64 }),
];

const DOWNLOAD_WANTED: Wanted = Wanted::OfBoth { squid: 1.5, no_jail: 0.52 };
const TRANSFERS: [(&str, Way, &str, Wanted); 5] = [
    ("256 MiB HTTPS download", Way::Download, "https", DOWNLOAD_WANTED),
    ("256 MiB HTTPS upload", Way::Upload, "https", Wanted::OfNoJail(0.52)),
    ("256 MiB HTTP download", Way::Download, "http", Wanted::OfNoJail(0.6)),
    ("256 MiB HTTP upload", Way::Upload, "http", Wanted::Open),
    ("256 MiB opaque TCP download", Way::Download, OPAQUE, Wanted::OfNoJail(0.6)),
];

struct NamedLoad {
    name: &'static str,
    load: Load,
    wanted: Wanted,
}

impl NamedLoad {
    const fn new(
        name: &'static str,
        url: &'static str,
        connections: u32,
        reuse: Reuse,
        wanted: Wanted,
    ) -> Self {
        Self { name, load: Load { url, connections, reuse }, wanted }
    }
}

/// Whether squid takes part in a measurement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rivals {
    With,
    Without,
}

struct Suite<'a> {
    args: &'a BenchArgs,
    field: Field,
    rows: Vec<Row>,
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
            for round in 0..self.args.starts {
                // squid has no part in a start: it runs already.
                for contestant in self.turn(round, Rivals::Without) {
                    row.add(contestant, start(contestant, &self.field)?);
                }
            }
            self.finish(row);
        }
        Ok(())
    }

    fn load(&mut self, NamedLoad { name, load, wanted }: NamedLoad) -> Result<()> {
        // With more connections, squid leaves some without an answer for seconds.
        let rivals = if load.connections > 64 { Rivals::Without } else { Rivals::With };
        self.rate(name, wanted, rivals, |contestant, field, seconds| {
            load.put_on(contestant, field, seconds)
        })
    }

    fn streams(&mut self, name: &str, streams: Streams) -> Result<()> {
        // squid speaks no HTTP/2 to its clients.
        let wanted = Wanted::OfNoJail(0.35);
        self.rate(name, wanted, Rivals::Without, |contestant, field, seconds| {
            streams.put_on(contestant, field, seconds)
        })
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
        for round in 0..self.args.rounds {
            for contestant in self.turn(round, rivals) {
                let answered = put_on(contestant, &self.field, self.args.seconds)?;
                row.add(contestant, answered.per_second);
                if let Some(usage) = answered.usage {
                    cpu.add(contestant, usage.cpu_seconds * 1e6 / answered.answers);
                }
            }
        }
        self.finish(row);
        self.finish(cpu);
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
            for contestant in self.turn(round, Rivals::Without) {
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
        for round in 0..self.args.rounds {
            // squid intercepts the ports of HTTP alone.
            let rivals = if scheme == OPAQUE { Rivals::Without } else { Rivals::With };
            for contestant in self.turn(round, rivals) {
                let transferred = way.take(contestant, &self.field, scheme)?;
                row.add(contestant, transferred.megabytes_per_second);
                if let Some(usage) = transferred.usage {
                    cpu.add(contestant, cpu_seconds_per_gib(usage));
                    peak.add(contestant, usage.peak_megabytes);
                }
            }
        }
        for row in [row, cpu, peak] {
            self.finish(row);
        }
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

    /// Who is measured in which order: every round begins with another one.
    fn turn(&self, round: u32, rivals: Rivals) -> Vec<Contestant> {
        let mut order = self.args.contestants.clone();
        let first = round as usize % order.len().max(1);
        order.rotate_left(first);
        order.retain(|contestant| rivals == Rivals::With || *contestant != Contestant::Squid);
        order
    }

    fn is_wanted(&self, name: &str) -> bool {
        self.args.only.as_ref().is_none_or(|word| name.contains(word.as_str()))
    }

    fn finish(&mut self, row: Row) {
        eprintln!("{}", row.summary());
        self.rows.push(row);
    }
}
