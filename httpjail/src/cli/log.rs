//! Diagnostics on standard error.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::{
    EnvFilter,
    fmt::{MakeWriter, format::Writer, time::FormatTime},
};

/// What is said whatever `RUST_LOG` is, which is often set for other programs' sake: what an option
/// opens, which guard is missing, what the command could change, and where a proxy that stands alone
/// serves.
const ALWAYS: [&str; 5] = [
    "httpjail::session::doors=warn",
    "httpjail::session::rule_files=warn",
    "httpjail::session::told::places=info",
    "httpjail::session::told::server=info",
    "httpjail::session::macos::server=info",
];

/// Starts diagnostics: `RUST_LOG` if it's set, else as many `-v` as were given.
pub(super) fn start(verbosity: u8) {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::builder().parse_lossy(directives),
        Ok(_) | Err(_) => EnvFilter::new(default_filter(verbosity)),
    };
    let filter = ALWAYS
        .iter()
        .fold(filter, |filter, always| filter.add_directive(always.parse().expect("a directive")));
    let colour = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Stderr)
        .with_ansi(colour)
        .with_target(false)
        .with_timer(Clock)
        .try_init();
    // An embedding program, or another test of this process, has its own: that one stays.
    drop(started);
}

/// Our own events at the level asked for; other crates' from warnings on.
fn default_filter(verbosity: u8) -> &'static str {
    match verbosity {
        0 => "warn",
        1 => "warn,httpjail=info",
        2 => "warn,httpjail=debug",
        _ => "info,httpjail=trace",
    }
}

/// The time of day in UTC.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let now = time::OffsetDateTime::now_utc().time();
        let (hour, minute, second, milli) = now.as_hms_milli();
        write!(w, "{hour:02}:{minute:02}:{second:02}.{milli:03}")
    }
}

/// Standard error, which the command shares: when whoever reads it has stopped reading, lines are
/// dropped rather than requests kept waiting (a pipe that polls writable takes a page at once).
#[derive(Clone, Copy)]
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
        if poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0) {
            return Ok(line.len());
        }
        stderr.lock().write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_v_says_more_of_our_own() {
        let level = |verbosity| EnvFilter::new(default_filter(verbosity)).max_level_hint();
        use tracing_subscriber::filter::LevelFilter;
        assert_eq!(level(0), Some(LevelFilter::WARN));
        assert_eq!(level(1), Some(LevelFilter::INFO));
        assert_eq!(level(2), Some(LevelFilter::DEBUG));
        assert_eq!(level(3), Some(LevelFilter::TRACE));
        assert_eq!(level(u8::MAX), Some(LevelFilter::TRACE));
    }
}
