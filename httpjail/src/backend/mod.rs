//! What stands between a command and the network, on each system.

#[cfg(target_os = "linux")]
pub mod linux;
