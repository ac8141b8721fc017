//! `cargo xtask fuzz`: throws made-up bytes at what reads hostile ones.
//!
//! The targets are built by cargo and run as they are: cargo-fuzz does no more, and takes minutes to
//! install.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::setup::{self, Purpose};
use crate::tools;

/// Arguments of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct FuzzArgs {
    /// Only this target.
    target: Option<Target>,
    /// For how long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// What is fuzzed; each has a program and seeds below `tests/fuzz`.
#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Target {
    Answer,
    Authority,
    ClientHello,
    DnsMessage,
    Http2Frames,
    ProxyAnswer,
    Request,
    RequestPattern,
    RuleResult,
    Sniff,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Authority => "authority",
            Self::ClientHello => "client_hello",
            Self::DnsMessage => "dns_message",
            Self::Http2Frames => "http2_frames",
            Self::ProxyAnswer => "proxy_answer",
            Self::Request => "request",
            Self::RequestPattern => "request_pattern",
            Self::RuleResult => "rule_result",
            Self::Sniff => "sniff",
        }
    }
}

/// Runs each target for a while, from its seeds and what earlier runs found, as many at a time as
/// there are processors. What breaks a promise is left in `tests/fuzz/artifacts`; mended, it belongs
/// among the seeds.
///
/// # Errors
/// When a target finds something, or can't be built.
pub(crate) fn fuzz(args: &FuzzArgs) -> Result<()> {
    setup::ensure(Purpose::Fuzz)?;
    let targets = args.target.as_ref().map_or(Target::value_variants(), std::slice::from_ref);
    let programs = build()?;
    let left = Mutex::new(targets.iter());
    let found = Mutex::new(Vec::new());
    let next = || left.lock().ok()?.next().copied();
    let work = || {
        while let Some(target) = next() {
            match run(target.name(), &programs, args.seconds) {
                Ok(summary) => eprintln!("{}: {summary}", target.name()),
                Err(error) => found.lock().expect("no worker panics").push(error),
            }
        }
    };
    let workers = thread::available_parallelism()?.get().min(targets.len());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    let found: Vec<_> = found.into_inner().expect("no worker panics");
    if found.is_empty() {
        return Ok(());
    }
    let texts: Vec<_> = found.iter().map(|error| format!("{error:#}")).collect();
    bail!("{}", texts.join("\n\n"))
}

/// What the fuzzer steers by, and what notices a wrong access: clang's flags of `-fsanitize=fuzzer`
/// and `-fsanitize=address`, as rustc has them.
const INSTRUMENTATION: &str = "--cfg=fuzzing -Cpasses=sancov-module -Zsanitizer=address \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Builds all targets; the folder of their programs.
fn build() -> Result<PathBuf> {
    let folder = folder();
    // Named, the target gets the flags, and build scripts don't.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = tools::cargo();
    cargo.current_dir(&folder).args([
        "build",
        "--quiet",
        "--release",
        "--bins",
        "--target",
        &target,
    ]);
    // They are no stable flags.
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", INSTRUMENTATION);
    tools::run(cargo.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    Ok(folder.join("target").join(target).join("release"))
}

/// Runs a target; what it did, in one line.
fn run(target: &str, programs: &Path, seconds: u32) -> Result<String> {
    let folder = folder();
    let (found, artifacts) =
        (folder.join("corpus").join(target), folder.join("artifacts").join(target));
    for folder in [&found, &artifacts] {
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to make the folder {}", folder.display()))?;
    }
    let mut fuzzer = Command::new(programs.join(target));
    // New finds go to the first folder.
    fuzzer.arg(found).arg(folder.join("seeds").join(target));
    fuzzer.args(["-print_final_stats=1", "-timeout=5", "-rss_limit_mb=2048"]);
    fuzzer.arg(format!("-max_total_time={seconds}"));
    fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
    let output = fuzzer
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start {}", tools::line(&fuzzer)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(summary(&said).unwrap_or_else(|| "nothing found".to_owned()));
    }
    bail!(
        "{target} ended with {}; the input: {}\n{}",
        output.status,
        input(&said).unwrap_or("none was written"),
        tail(&said)
    )
}

fn folder() -> PathBuf {
    tools::workspace().join("tests/fuzz")
}

fn summary(said: &str) -> Option<String> {
    let line =
        said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    Some(format!("{} inputs, nothing found", line.trim()))
}

/// The file that libFuzzer wrote the culprit to.
fn input(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path)
}

fn tail(said: &str) -> String {
    const LINES: usize = 60;
    let lines: Vec<_> = said.lines().collect();
    lines.split_at(lines.len().saturating_sub(LINES)).1.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: &str = "==7== ERROR: libFuzzer: deadly signal\nartifact_prefix='a/'; \
        Test unit written to a/crash-1\nBase64: eA==\n";

    #[test]
    fn names_the_input_that_broke_a_promise() {
        assert_eq!(input(FOUND), Some("a/crash-1"));
        assert_eq!(input("Done 7 runs in 1 second(s)"), None);
    }

    #[test]
    fn tells_how_much_was_tried() {
        let said = "Done 7 runs in 1 second(s)\nstat::number_of_executed_units: 7\n";
        assert_eq!(summary(said).as_deref(), Some("7 inputs, nothing found"));
    }

    #[test]
    fn shows_the_end_of_a_long_text() {
        let long: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        assert!(tail(&long.join("\n")).starts_with("40\n41\n"));
        assert_eq!(tail("short"), "short");
    }
}
