//! `cargo xtask fuzz`: throws made-up bytes at what reads hostile ones.

use std::fs;

use anyhow::{Context, Result};
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
    Authority,
    ClientHello,
    DnsMessage,
    Http2Frames,
    ProxyAnswer,
    RuleResult,
    Sniff,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::ClientHello => "client_hello",
            Self::DnsMessage => "dns_message",
            Self::Http2Frames => "http2_frames",
            Self::ProxyAnswer => "proxy_answer",
            Self::RuleResult => "rule_result",
            Self::Sniff => "sniff",
        }
    }
}

/// Runs each target for a while, from its seeds and what earlier runs found. What breaks a promise
/// is left in `tests/fuzz/artifacts`; mended, it belongs among the seeds.
///
/// # Errors
/// When a target finds something, or can't be built.
pub(crate) fn fuzz(args: &FuzzArgs) -> Result<()> {
    setup::ensure(Purpose::Fuzz)?;
    let targets = args.target.as_ref().map_or(Target::value_variants(), std::slice::from_ref);
    targets.iter().try_for_each(|target| run(target.name(), args.seconds))
}

fn run(target: &str, seconds: u32) -> Result<()> {
    let folder = tools::workspace().join("tests/fuzz");
    let found = folder.join("corpus").join(target);
    fs::create_dir_all(&found)
        .with_context(|| format!("failed to make the folder {}", found.display()))?;
    let mut cargo = tools::cargo();
    cargo.args(["fuzz", "run", "--fuzz-dir"]).arg(&folder).arg(target);
    // New finds go to the first folder.
    cargo.arg(found).arg(folder.join("seeds").join(target));
    cargo.args(["--", "-print_final_stats=1", "-timeout=5", "-rss_limit_mb=1024"]);
    cargo.arg(format!("-max_total_time={seconds}"));
    // The instrumentation's flags are no stable ones.
    tools::run(cargo.env("RUSTC_BOOTSTRAP", "1").env_remove("CARGO_TARGET_DIR"))
}
