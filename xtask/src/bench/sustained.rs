//! New connections at full rate for so long that ports would run out.

use std::process::Command;

use anyhow::Result;

use super::arena::{self, Ports};
use super::contestant::{Contestant, Field};
use super::load::{Load, Reuse};

/// What came of a minute.
pub(super) struct Minute {
    /// Good answers per second.
    pub(super) per_second: f64,
    /// How many requests failed: refused, broken off, timed out, not connected.
    pub(super) failures: f64,
}

/// Puts a minute of new connections on the jail, with a system's default range of ports and no
/// reuse of those that wait, which the arena has for the other loads.
///
/// # Errors
/// When the load's client fails as a whole.
pub(super) fn minute(field: &Field, url: &'static str) -> Result<Minute> {
    let load = Load { url, connections: CONNECTIONS, reuse: Reuse::Close };
    arena::set_ports(&mut Command::new("sysctl"), Ports::OfASystem)?;
    let report = load.report(Contestant::Httpjail, field, SECONDS);
    arena::set_ports(&mut Command::new("sysctl"), Ports::OfTheArena)?;
    let (report, _) = report?;
    Ok(Minute { per_second: report.per_second, failures: report.failures as f64 })
}

const CONNECTIONS: u32 = 16;
const SECONDS: u32 = 60;
