//! The modes in which programs are told of the proxy, and nothing but their obedience brings them to
//! it: `--weak` and `--server`. Environment, folder and places are the same on every system; the
//! processes are in `session/macos` for macOS, and here for Linux.

use std::{error::Error, time::Duration};

pub(in crate::session) mod environment;
pub(in crate::session) mod folder;
pub(in crate::session) mod places;

#[cfg(target_os = "linux")]
mod clients;
#[cfg(target_os = "linux")]
mod hide;
#[cfg(target_os = "linux")]
mod role;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod weak;

#[cfg(target_os = "linux")]
use hide::hide;
#[cfg(target_os = "linux")]
pub use server::run_server;
#[cfg(target_os = "linux")]
pub use weak::run_weak;

/// How long requests that are under way may take after the word to end a proxy that stands alone.
pub(in crate::session) const DRAIN: Duration = Duration::from_secs(30);

/// An error with its causes, in one line.
pub(in crate::session) fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
