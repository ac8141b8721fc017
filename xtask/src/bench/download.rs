//! Throughput of one large answer, by curl.

use anyhow::{Context, Result, ensure};

use super::contestant::{Contestant, Field};
use super::origin::DOWNLOAD_BYTES;
use super::usage::Usage;

/// What came of a download.
pub(super) struct Downloaded {
    /// Megabytes per second.
    pub(super) megabytes_per_second: f64,
    /// What the proxy used.
    pub(super) usage: Option<Usage>,
}

/// Downloads the origin's large file once.
pub(super) fn download(contestant: Contestant, field: &Field, url: &str) -> Result<Downloaded> {
    let trust = field.trust(contestant)?;
    let mut client = vec!["curl", "--silent", "--show-error", "--fail", "--output", "/dev/null"];
    client.extend(["--write-out", "%{size_download} %{speed_download}\n"]);
    client.extend(trust.iter().map(String::as_str));
    client.push(url);
    let outcome = field.measure(contestant, &client)?;
    let (size, speed) = outcome.stdout.trim().split_once(' ').context("curl printed no figures")?;
    ensure!(size.parse() == Ok(DOWNLOAD_BYTES), "only {size} bytes came through {contestant}");
    Ok(Downloaded { megabytes_per_second: speed.parse::<f64>()? / 1e6, usage: outcome.usage })
}

/// CPU seconds that the proxy takes for a GiB.
pub(super) fn cpu_seconds_per_gib(usage: Usage) -> f64 {
    const PARTS_OF_A_GIB: f64 = ((1 << 30) / DOWNLOAD_BYTES) as f64;
    usage.cpu_seconds * PARTS_OF_A_GIB
}
