//! What is measured, in which order.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::arena;
use super::args::BenchArgs;
use super::contestant::{Contestant, Field};
use super::download::{cpu_seconds_per_gib, download};
use super::load::{Load, Reuse};
use super::report::{self, Row, Wanted};
use super::startup;
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
    for scheme in ["https", "http"] {
        suite.download(scheme)?;
    }
    report::publish(&suite.rows, args)
}

const LOADS: [NamedLoad; 8] = {
    const HTTPS: &str = "https://x.bench.test/1k";
    const HTTP: &str = "http://x.bench.test/1k";
    use Reuse::{Close, KeepAlive};
    use Wanted::{OfNoJail, OfSquid, Open};
    [
        NamedLoad::new("HTTPS keep-alive, 1 connection", HTTPS, 1, KeepAlive, Open),
        NamedLoad::new("HTTPS keep-alive, 16 connections", HTTPS, 16, KeepAlive, OfSquid(2.0)),
        NamedLoad::new("HTTPS keep-alive, 64 connections", HTTPS, 64, KeepAlive, OfSquid(2.0)),
        NamedLoad::new("HTTP keep-alive, 1 connection", HTTP, 1, KeepAlive, Open),
        NamedLoad::new("HTTP keep-alive, 16 connections", HTTP, 16, KeepAlive, OfSquid(2.5)),
        NamedLoad::new("HTTP keep-alive, 64 connections", HTTP, 64, KeepAlive, OfSquid(2.5)),
        NamedLoad::new("HTTPS, new connection each, 16 at a time", HTTPS, 16, Close, OfNoJail(0.7)),
        NamedLoad::new("HTTP, new connection each, 16 at a time", HTTP, 16, Close, Open),
    ]
};

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

struct Suite<'a> {
    args: &'a BenchArgs,
    field: Field,
    rows: Vec<Row>,
}

type Start = fn(Contestant, &Field) -> Result<f64>;

impl Suite<'_> {
    fn starts(&mut self) -> Result<()> {
        let measurements: [(&'static str, Start, Wanted); 3] = [
            ("`true`, start to end", startup::of_true, Wanted::AboveNoJail(10.0)),
            ("`curl`, 1 KiB over HTTPS", startup::of_curl, Wanted::Open),
            ("20 such `curl` at once", startup::of_many, Wanted::Open),
        ];
        for (name, start, wanted) in measurements {
            if !self.is_wanted(name) {
                continue;
            }
            let mut row = Row::new(name, "ms", wanted);
            for round in 0..self.args.starts {
                // squid has no part in a start: it runs already.
                for contestant in self.turn(round) {
                    if contestant != Contestant::Squid {
                        row.add(contestant, start(contestant, &self.field)?);
                    }
                }
            }
            self.finish(row);
        }
        Ok(())
    }

    fn load(&mut self, NamedLoad { name, load, wanted }: NamedLoad) -> Result<()> {
        if !self.is_wanted(name) {
            return Ok(());
        }
        let mut row = Row::new(name, "requests/s", wanted);
        let mut cpu = Row::new("⤷ proxy CPU per request", "µs", Wanted::Open);
        for round in 0..self.args.rounds {
            for contestant in self.turn(round) {
                let answered = load.put_on(contestant, &self.field, self.args.seconds)?;
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

    fn download(&mut self, scheme: &str) -> Result<()> {
        let name = format!("256 MiB {} download", scheme.to_uppercase());
        if !self.is_wanted(&name) {
            return Ok(());
        }
        let url = format!("{scheme}://x.bench.test/256m");
        let mut row = Row::new(name, "MB/s", Wanted::OfSquid(1.5));
        let mut cpu = Row::new("⤷ proxy CPU", "s/GiB", Wanted::Open);
        let mut peak = Row::new("⤷ proxy peak memory", "MB", Wanted::AtMost(25.0));
        for round in 0..self.args.rounds {
            for contestant in self.turn(round) {
                let downloaded = download(contestant, &self.field, &url)?;
                row.add(contestant, downloaded.megabytes_per_second);
                if let Some(usage) = downloaded.usage {
                    cpu.add(contestant, cpu_seconds_per_gib(usage));
                    peak.add(contestant, usage.peak_megabytes);
                }
            }
        }
        self.rows.extend([row, cpu, peak]);
        Ok(())
    }

    /// Who is measured in which order: every round begins with another one.
    fn turn(&self, round: u32) -> Vec<Contestant> {
        let mut order = self.args.contestants.clone();
        let first = round as usize % order.len().max(1);
        order.rotate_left(first);
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
