//! Throughput of one large body, by curl.

use anyhow::{Context, Result, ensure};

use super::contestant::{Contestant, Field};
use super::origin::LARGE_BYTES;
use super::usage::Usage;

/// Which way the body goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// From the origin.
    Download,
    /// To the origin.
    Upload,
}

/// The scheme of what the jail carries unread (`--allow-tcp`).
pub(super) const OPAQUE: &str = "opaque";

/// What came of a transfer.
pub(super) struct Transferred {
    /// Megabytes per second.
    pub(super) megabytes_per_second: f64,
    /// What the proxy used.
    pub(super) usage: Option<Usage>,
}

impl Way {
    /// Moves the large body once over `scheme`.
    ///
    /// # Errors
    /// When not all of it came through.
    pub(super) fn take(
        self,
        contestant: Contestant,
        field: &Field,
        scheme: &str,
    ) -> Result<Transferred> {
        let trust = field.trust(contestant)?;
        let is_opaque = scheme == OPAQUE;
        // What is opaque to the jail is HTTP to the two ends.
        let scheme = if is_opaque { "http" } else { scheme };
        let file = field.large_file();
        let port = if is_opaque { ":8080" } else { "" };
        let download = format!("{scheme}://x.bench.test{port}/1g");
        let upload = format!("{scheme}://x.bench.test/upload/1g");
        let mut client = vec![
            "curl",
            "--http1.1",
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "120",
            "--output",
            "/dev/null",
        ];
        client.extend(trust.iter().map(String::as_str));
        client.extend(match self {
            Self::Download => ["--write-out", "%{size_download} %{speed_download}\n", &download],
            Self::Upload => ["--write-out", "%{size_upload} %{speed_upload}\n", &upload],
        });
        if self == Self::Upload {
            client.extend(["--upload-file", &file]);
        }
        let opening = ["--allow-tcp", "x.bench.test:8080"];
        let options = if is_opaque { &opening[..] } else { &[] };
        let outcome = field.measure_with(contestant, options, &client)?;
        let (size, speed) =
            outcome.stdout.trim().split_once(' ').context("curl printed no figures")?;
        ensure!(size.parse() == Ok(LARGE_BYTES), "only {size} bytes came through {contestant}");
        Ok(Transferred { megabytes_per_second: speed.parse::<f64>()? / 1e6, usage: outcome.usage })
    }
}

/// CPU seconds that the proxy takes for a GiB.
pub(super) fn cpu_seconds_per_gib(usage: Usage) -> f64 {
    const { assert!(LARGE_BYTES == 1 << 30) };
    usage.cpu_seconds
}
