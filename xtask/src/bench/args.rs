//! The arguments of `cargo xtask bench`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::contestant::Contestant;

/// Arguments of `cargo xtask bench`.
#[derive(Args, Clone)]
pub(crate) struct BenchArgs {
    /// How often each measurement is taken, in alternation; the median counts.
    #[arg(long, default_value_t = 3)]
    pub(super) rounds: u32,
    /// How long each load lasts.
    #[arg(long, default_value_t = 2, value_name = "SECS")]
    pub(super) seconds: u32,
    /// How often each command is started.
    #[arg(long, default_value_t = 40)]
    pub(super) starts: u32,
    /// Who takes part.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Contestant::ALL)]
    pub(super) contestants: Vec<Contestant>,
    /// Only what has this in its name.
    #[arg(long, value_name = "WORD")]
    pub(super) only: Option<String>,
    /// Sample httpjail's processes with perf during each measurement, and tell the three largest
    /// costs of each instead of the figures, which sampling lowers.
    #[arg(long)]
    pub(super) profile: bool,
    /// Write the figures, or with `--profile` the costs, into docs/performance.md.
    #[arg(long)]
    pub(super) write: bool,
    /// Measure this binary instead of a fresh release build.
    #[arg(long, value_name = "FILE")]
    pub(super) httpjail: Option<PathBuf>,
}

impl BenchArgs {
    /// The same arguments for another process, with the binary to measure.
    pub(super) fn with_binary(&self, httpjail: PathBuf) -> Vec<OsString> {
        let names: Vec<_> = self.contestants.iter().map(|contestant| contestant.name()).collect();
        let mut args: Vec<OsString> = vec![
            format!("--rounds={}", self.rounds).into(),
            format!("--seconds={}", self.seconds).into(),
            format!("--starts={}", self.starts).into(),
            format!("--contestants={}", names.join(",")).into(),
            "--httpjail".into(),
            httpjail.into(),
        ];
        args.extend(self.only.iter().map(|word| format!("--only={word}").into()));
        for (is_set, option) in [(self.write, "--write"), (self.profile, "--profile")] {
            if is_set {
                args.push(option.into());
            }
        }
        args
    }

    /// Whether `contestant` takes part.
    pub(super) fn has(&self, contestant: Contestant) -> bool {
        self.contestants.contains(&contestant)
    }
}
