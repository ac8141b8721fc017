//! The backstop: one nftables rule that drops what leaves the jails' parent cgroup other than
//! over lo. It stands in for eBPF programs that are wrong or gone.
//!
//! ```text
//! table inet httpjail {
//!     chain output {
//!         type filter hook output priority filter; policy accept;
//!         oif != lo socket cgroupv2 level <level> <parent cgroup's id> drop
//!     }
//! }
//! ```
//!
//! There is one rule for each parent cgroup, whatever the number of jails below it, and it stays
//! for the next run: taking a rule away makes the kernel wait for all its processors.
//!
//! What it can't see: a packet that a NAT rule of the host turns away from lo after it was
//! routed (the hook tells the first device), and packets without an IP header. Both are the
//! egress program's to stop.

mod attributes;
mod netlink;
mod rule;
mod state;
mod table;

pub use table::{Backstop, BackstopError};

#[cfg(test)]
mod tests;
