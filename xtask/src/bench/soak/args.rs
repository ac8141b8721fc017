//! The arguments of `cargo xtask soak`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

/// Arguments of `cargo xtask soak`.
#[derive(Args, Clone)]
pub(crate) struct SoakArgs {
    /// How long the load lasts.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(super) minutes: u64,
    /// Write what came of it into docs/performance.md.
    #[arg(long)]
    pub(super) write: bool,
    /// Load this binary instead of a fresh release build.
    #[arg(long, value_name = "FILE")]
    pub(super) httpjail: Option<PathBuf>,
}

impl SoakArgs {
    /// The same arguments for another process, with the binary to load.
    pub(super) fn with_binary(&self, httpjail: PathBuf) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec![
            format!("--minutes={}", self.minutes).into(),
            "--httpjail".into(),
            httpjail.into(),
        ];
        if self.write {
            args.push("--write".into());
        }
        args
    }
}
