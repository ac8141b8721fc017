//! `cargo xtask run`: builds httpjail and becomes it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::setup::{self, Purpose};
use crate::tools;

/// Arguments of `cargo xtask run`.
#[derive(Args)]
pub(crate) struct RunArgs {
    /// Build without optimisation of httpjail's own crates: quicker to build, slower to run.
    #[arg(long)]
    dev: bool,
    /// What goes to httpjail: its options and the command, as in `-- --js "…" -- curl …`.
    #[arg(last = true, value_name = "HTTPJAIL ARGS")]
    args: Vec<OsString>,
}

/// How httpjail is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What the tests run: quick to build.
    Dev,
    /// What users run.
    Release,
}

/// Builds httpjail as the caller, then replaces this process by it as root.
///
/// It is the release build by default: people come here to see how the product feels, and the
/// dependencies, which take nearly all of the time, are optimised in either build.
///
/// # Errors
/// Returns only when something failed before httpjail started.
pub(crate) fn run(args: &RunArgs) -> Result<()> {
    setup::ensure(Purpose::Run)?;
    let profile = if args.dev { Profile::Dev } else { Profile::Release };
    let binary = build(profile)?;
    let mut command = tools::as_root(&binary);
    command.args(&args.args);
    // exec: terminal, standard streams, signals and the exit code are httpjail's own.
    let error = command.exec();
    Err(error).with_context(|| format!("failed to start {}", tools::line(&command)))
}

/// Builds the `httpjail` binary and returns its path.
///
/// # Errors
/// When cargo fails.
pub(crate) fn build(profile: Profile) -> Result<PathBuf> {
    let mut cargo = tools::cargo();
    cargo.args(["build", "--quiet", "--package", "httpjail", "--bin", "httpjail"]);
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            cargo.arg("--release");
            "release"
        }
    };
    let built = tools::run(&mut cargo);
    give_back_target();
    built?;
    Ok(tools::target_dir().join(folder).join("httpjail"))
}

/// Under `sudo cargo xtask`, hands what root built back to the user who owns the checkout, whose
/// next own build would otherwise fail. A failure here spoils nothing now.
fn give_back_target() {
    let (Some(uid), Some(gid)) = (std::env::var_os("SUDO_UID"), std::env::var_os("SUDO_GID"))
    else {
        return;
    };
    if !tools::is_root() {
        return;
    }
    let mut owner = uid;
    owner.push(":");
    owner.push(gid);
    tools::succeeds(
        Command::new("chown")
            .args(["--recursive", "--no-dereference", "--from=0"])
            .arg(owner)
            .arg("--")
            .arg(tools::target_dir()),
    );
}
