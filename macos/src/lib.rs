//! The macOS backend of httpjail: not written yet, and it says so.
//!
//! What will stand here: a pf anchor that redirects the traffic of one group to the proxy, the
//! look-up of original destinations (`DIOCNATLOOK`), and the keychain for programs that trust
//! nothing else. Its pure parts will build and be tested on any system.
//!
//! Until then [`arm`] refuses, so that a caller on macOS gets an error and never a command that
//! runs without a jail.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::error::Error;
use std::fmt;

/// Readies a jail on macOS.
///
/// # Errors
/// Always [`Unsupported`], as long as there is no backend.
///
/// # Examples
/// ```
/// let error = httpjail_macos::arm().unwrap_err();
/// assert_eq!(error.to_string(), "make a jail: httpjail has no backend for macOS yet");
/// ```
pub fn arm() -> Result<Infallible, Unsupported> {
    Err(Unsupported)
}

/// There is no backend for this system yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsupported;

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("make a jail: httpjail has no backend for macOS yet")
    }
}

impl Error for Unsupported {}
