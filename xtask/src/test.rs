//! `cargo xtask test`: all tests, kernel tests included.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::run::{self, Profile};
use crate::setup::{self, Purpose};
use crate::tools;

/// Arguments of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Only tests whose name contains one of these.
    filters: Vec<String>,
    /// Further arguments of `cargo nextest run`.
    #[arg(last = true, value_name = "NEXTEST ARGS")]
    nextest: Vec<OsString>,
}

/// Builds everything and runs the unit, integration and kernel tests, then those in the
/// documentation.
///
/// # Errors
/// When a test fails, or can't run.
pub(crate) fn test(args: &TestArgs) -> Result<()> {
    tools::run(nextest()?.args(&args.filters).args(&args.nextest))?;
    if args.filters.is_empty() {
        tools::run(tools::cargo().args(["test", "--quiet", "--workspace", "--doc"]))?;
    }
    Ok(())
}

/// Builds httpjail, and returns the command that builds and runs all tests of it.
///
/// # Errors
/// When it can't be built.
pub(crate) fn nextest() -> Result<Command> {
    setup::ensure(Purpose::Test)?;
    let binary = run::build(Profile::Dev)?;
    let mut nextest = tools::cargo();
    nextest.args(["nextest", "run", "--workspace"]);
    nextest.env("HTTPJAIL_BIN", binary);
    if !tools::is_root() {
        run_tests_as_root(&mut nextest);
    }
    Ok(nextest)
}

/// Has cargo start each test program through sudo: what is built stays the caller's own, and the
/// kernel tests are root. The environment is kept, for the runner talks to its tests through it.
fn run_tests_as_root(command: &mut Command) {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let variable = format!("CARGO_TARGET_{}_RUNNER", target.to_uppercase().replace('-', "_"));
    command.env(variable, "sudo --preserve-env --");
}
