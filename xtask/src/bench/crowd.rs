//! What jails weigh, and many of them at once.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::contestant::{Contestant, Field};
use super::program;
use super::usage::{self, Who};
use crate::tools;

/// How many jails live at once.
pub(super) const JAILS: u32 = 300;
/// Says that it runs, and waits.
const WAIT: &str = "echo up; read end";

/// Proportional memory, in megabytes, of one jail whose command does nothing, all its processes
/// together.
///
/// # Errors
/// When it doesn't start.
pub(super) fn idle_megabytes(field: &Field) -> Result<f64> {
    let jail = Waiting::start(field)?;
    let weight = usage::proportional_megabytes(&field.jails())?;
    jail.end()?;
    Ok(weight)
}

/// Proportional memory, in megabytes, of one jail while `connections` are at work.
///
/// # Errors
/// When it doesn't start.
pub(super) fn busy_megabytes(field: &Field, connections: u32) -> Result<f64> {
    let connections = format!("-c{connections}");
    let script = r#"ulimit -n 16384; echo up; exec wrk -t2 "$1" -d4s https://x.bench.test/1k"#;
    let mut command = field.client(Contestant::Httpjail, "sh")?;
    command.args(["-c", script, "sh", &connections]);
    let mut process = start(&mut command)?;
    program::wait_for_line(&mut process, "up")?;
    let mut most: f64 = 0.0;
    while process.try_wait()?.is_none() {
        // The jail may have ended since.
        most = most.max(usage::proportional_megabytes(&field.jails()).unwrap_or_default());
    }
    Ok(most)
}

/// Starts [`JAILS`] jails, lets all live at once, and ends them. The proportional memory of one,
/// in megabytes.
///
/// # Errors
/// When one of them doesn't start, or doesn't end well.
pub(super) fn many(field: &Field) -> Result<f64> {
    let jails: Result<Vec<_>> = (0..JAILS).map(|_| Waiting::start(field)).collect();
    let jails = jails?;
    let weight = usage::proportional_megabytes(&field.jails())?;
    for jail in jails {
        jail.end()?;
    }
    Ok(weight / f64::from(JAILS))
}

/// A jail whose command waits.
struct Waiting(Child);

impl Waiting {
    fn start(field: &Field) -> Result<Self> {
        let mut command = field.client(Contestant::Httpjail, "sh")?;
        let mut process = start(command.args(["-c", WAIT]))?;
        program::wait_for_line(&mut process, "up")?;
        Ok(Self(process))
    }

    fn end(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait()?;
        // `read` fails at the end of its input.
        ensure!(status.code() == Some(1), "a jail ended with {status}");
        Ok(())
    }
}

fn start(command: &mut Command) -> Result<Child> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {}", tools::line(command)))
}

impl Field {
    /// The processes of all jails, the supervisors' included.
    fn jails(&self) -> Who {
        Who::Running(self.binary().to_owned())
    }
}
