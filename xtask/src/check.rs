//! `cargo xtask check`: everything that can be said about the source without running it.

use std::process::Command;

use anyhow::Result;

use crate::setup::{self, Purpose};
use crate::{layers, tools};

/// Runs all static checks, and stops at the first that fails.
///
/// # Errors
/// Names the check that failed.
pub(crate) fn check() -> Result<()> {
    setup::ensure(Purpose::Ci)?;
    layers::check()?;
    format()?;
    lint_user_side()?;
    lint_kernel_side()?;
    dependencies()
}

fn format() -> Result<()> {
    tools::run(tools::cargo().args(["fmt", "--all", "--check"]))?;
    tools::run(kernel_side("fmt").args(["--", "--check"]))
}

fn lint_user_side() -> Result<()> {
    let mut clippy = tools::cargo();
    clippy.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    tools::run(&mut clippy)
}

/// The kernel side is linted for its own target, by the toolchain that builds it.
///
/// Its `cargo-clippy` is called by its path: cargo looks for subcommands in its own home first,
/// where rustup's stands.
fn lint_kernel_side() -> Result<()> {
    let mut clippy = Command::new("/usr/bin/cargo-clippy");
    clippy
        .current_dir(tools::workspace().join("httpjail-ebpf"))
        .args(["clippy", "--quiet", "--release", "--target", "bpfel-unknown-none"])
        .args(["--target-dir", "target/clippy", "-Z", "build-std=core", "--", "-D", "warnings"])
        .env("PATH", "/usr/bin:/bin")
        .env("CARGO", "/usr/bin/cargo")
        .env("RUSTC", "/usr/bin/rustc")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", r#"--cfg=bpf_target_arch="x86_64""#)
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO_TARGET_DIR");
    tools::run(&mut clippy)
}

/// Licences, sources and duplicates. Advisories need a database from the network: they are
/// checked where it can be had, by `cargo deny check advisories`.
fn dependencies() -> Result<()> {
    let mut deny = tools::cargo();
    deny.args(["deny", "--offline", "--log-level", "error"]);
    tools::run(deny.args(["check", "bans", "licenses", "sources"]))
}

fn kernel_side(subcommand: &str) -> Command {
    let mut cargo = tools::cargo();
    cargo.arg(subcommand).current_dir(tools::workspace().join("httpjail-ebpf"));
    cargo
}
