//! What stands between a command and the network, on each system.

pub mod finding;
#[cfg(target_os = "linux")]
pub mod linux;
#[cfg(target_os = "macos")]
pub mod macos;
mod privileges;
pub mod user;

pub use privileges::Privileges;
