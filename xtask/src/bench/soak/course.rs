//! The course of a soak: one jail under load for all its time, others that come and go beside it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};

use super::args::SoakArgs;
use super::load::{self, Answers};
use super::sample::{self, Run, Sample};
use super::table::{self, Outcome};
use crate::bench::arena;
use crate::bench::contestant::{Contestant, Field};
use crate::bench::report;
use crate::setup::{self, Purpose};
use crate::tools;

/// From one short jail to the next.
const PAUSE: Duration = Duration::from_secs(2);

/// From one sample to the next.
const INTERVAL: Duration = Duration::from_secs(15);

/// Builds what is loaded, and loads it in an arena of its own.
///
/// # Errors
/// Returns only when something failed before the load began.
pub(crate) fn soak(args: &SoakArgs) -> Result<()> {
    setup::ensure(Purpose::Soak)?;
    let httpjail = arena::binary(args.httpjail.as_deref())?;
    let inside = [vec!["soak-inside".into()], args.with_binary(httpjail.clone())].concat();
    arena::enter(&httpjail, &inside)
}

/// Puts on the load from inside the arena, and prints what came of it.
///
/// # Errors
/// When a server can't be started, an answer isn't what it should be, a record is missing, or
/// something is left at the end.
pub(crate) fn soak_inside(args: &SoakArgs) -> Result<()> {
    let httpjail = args.httpjail.as_deref().context("no binary to load")?;
    let field = Field::prepare(httpjail, &[Contestant::Httpjail])?;
    load::prepare(field.folder())?;
    let outcome = run(&field, args.minutes)?;
    let text = table::text(&outcome)?;
    println!("{text}");
    if args.write {
        report::write("soak", &text)?;
    }
    table::judge(&outcome)
}

fn run(field: &Field, minutes: u64) -> Result<Outcome> {
    let log = field.folder().join("long.log");
    let mut long = field.jail();
    long.arg("--request-log").arg(&log).args(["--", "sh", "-c", &load::script(minutes)]);
    long.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut long =
        long.spawn().with_context(|| format!("failed to start {}", tools::line(&long)))?;
    let mut outcome = Outcome { minutes, ..Outcome::default() };
    let run = find(&mut long)?;
    let cgroup = fs::metadata(&run.cgroup)?.ino();
    watch(field, &mut long, &run, &mut outcome)?;

    let output = long.wait_with_output()?;
    ensure!(output.status.success(), "the jail ended with {}", output.status);
    outcome.answers = Answers::parse(&String::from_utf8_lossy(&output.stdout))?;
    outcome.records = records(&log)?;
    outcome.left = left(&run.cgroup, cgroup)?;
    Ok(outcome)
}

/// Waits until the jail has all its parts.
fn find(long: &mut Child) -> Result<Run> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Run::find(long.id()) {
            Ok(run) => return Ok(run),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Takes samples of the jail under load, and starts and ends others, until its load is over.
fn watch(field: &Field, long: &mut Child, run: &Run, outcome: &mut Outcome) -> Result<()> {
    let began = Instant::now();
    let whole = Duration::from_secs(outcome.minutes * 60);
    let mut due = Duration::ZERO;
    while began.elapsed() < whole && long.try_wait()?.is_none() {
        if began.elapsed() >= due {
            let sample = run.sample()?;
            tell(&format!("{:5} s: {}", began.elapsed().as_secs(), table::line(&sample)));
            outcome.samples.push(sample);
            outcome.cpu_share = run.cpu_seconds()? / began.elapsed().as_secs_f64().max(1.0);
            due += INTERVAL;
        }
        outcome.jails += 1;
        if let Err(error) = short_jail(field) {
            tell(&format!("a short jail: {error:#}"));
            outcome.bad_jails += 1;
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Says how it goes, if it can: a full disk behind a log ends no soak.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Starts a jail, has an allowed and a denied request made in it, and checks both records.
fn short_jail(field: &Field) -> Result<()> {
    const SCRIPT: &str = "for url in https://x.bench.test/1k http://denied.test/; do
        curl --silent --output /dev/null --write-out '%{http_code} ' \\
            --cacert \"$NODE_EXTRA_CA_CERTS\" $url; done";
    let log = field.folder().join("short.log");
    let mut command: Command = field.jail();
    command.arg("--request-log").arg(&log).args(["--", "sh", "-c", SCRIPT]);
    let answers = tools::output(&mut command)?;
    ensure!(answers == "200 403 ", "its answers were {answers}");
    let records = records(&log)?;
    fs::remove_file(&log)?;
    ensure!(records == 2, "it left {records} records");
    Ok(())
}

fn records(log: &Path) -> Result<u64> {
    let text = fs::read(log).with_context(|| format!("failed to read {}", log.display()))?;
    Ok(text.iter().filter(|byte| **byte == b'\n').count() as u64)
}

/// What is left of this jail, and in its parent of any that has ended.
fn left(jail: &Path, number: u64) -> Result<Vec<String>> {
    let mut left = Vec::new();
    if sample::is_known(number)? {
        left.push(format!("entries of jail {number} in the kernel's maps"));
    }
    let parent = jail.parent().context("a jail's cgroup has a parent")?;
    for entry in fs::read_dir(parent).into_iter().flatten() {
        let cgroup = entry?.path();
        let name = cgroup.file_name().and_then(|name| name.to_str()?.strip_prefix("jail-"));
        if name.is_some_and(|id| !lives(&Path::new(RUNS).join(id))) {
            left.push(cgroup.display().to_string());
        }
    }
    for entry in fs::read_dir(RUNS)? {
        let folder = entry?.path();
        let note = fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
        if Path::new(note.trim_end()).starts_with(parent) && !lives(&folder) {
            left.push(folder.display().to_string());
        }
    }
    Ok(left)
}

/// Where httpjail keeps what it knows of its runs.
const RUNS: &str = "/run/httpjail";

/// Whether somebody holds the lock on a run's folder: others may use httpjail meanwhile.
fn lives(folder: &Path) -> bool {
    let Ok(folder) = fs::File::open(folder) else { return false };
    flock(folder, FlockOperation::NonBlockingLockShared).is_err()
}

impl Sample {
    /// The mean of some samples.
    pub(super) fn mean(samples: &[Self]) -> Self {
        let count = samples.len().max(1) as f64;
        let mean = |field: fn(&Self) -> f64| samples.iter().map(field).sum::<f64>() / count;
        Self {
            proxy_resident: mean(|sample| sample.proxy_resident),
            proxy_share: mean(|sample| sample.proxy_share),
            proxy_descriptors: mean(|sample| sample.proxy_descriptors),
            proxy_threads: mean(|sample| sample.proxy_threads),
            supervisor_resident: mean(|sample| sample.supervisor_resident),
            supervisor_descriptors: mean(|sample| sample.supervisor_descriptors),
            flows: mean(|sample| sample.flows),
        }
    }
}
