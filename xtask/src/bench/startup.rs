//! How long a command takes from its start to its end.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::contestant::{Contestant, Field};
use crate::tools;

/// How many jails are started at once.
const AT_ONCE: usize = 20;

/// Milliseconds of `true`.
pub(super) fn of_true(contestant: Contestant, field: &Field) -> Result<f64> {
    let mut command = field.bare_client(contestant, "true");
    milliseconds(|| Ok(vec![start(&mut command)?]))
}

/// Milliseconds of a curl that fetches 1 KiB over TLS.
pub(super) fn of_curl(contestant: Contestant, field: &Field) -> Result<f64> {
    let mut command = curl(contestant, field)?;
    milliseconds(|| Ok(vec![start(&mut command)?]))
}

/// Milliseconds of several such curls at once, each in a jail of its own.
pub(super) fn of_many(contestant: Contestant, field: &Field) -> Result<f64> {
    let mut command = curl(contestant, field)?;
    milliseconds(|| (0..AT_ONCE).map(|_| start(&mut command)).collect())
}

fn curl(contestant: Contestant, field: &Field) -> Result<Command> {
    let mut command = field.bare_client(contestant, "curl");
    command.args(["--silent", "--show-error", "--fail", "--output", "/dev/null"]);
    command.args(Field::names(contestant)).args(field.trust(contestant)?);
    command.arg("https://x.bench.test/1k");
    Ok(command)
}

fn start(command: &mut Command) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("failed to start {}", tools::line(command)))
}

fn milliseconds(start: impl FnOnce() -> Result<Vec<Child>>) -> Result<f64> {
    let began = Instant::now();
    let children = start()?;
    for mut child in children {
        let status = child.wait()?;
        ensure!(status.success(), "a measured command ended with {status}");
    }
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}
