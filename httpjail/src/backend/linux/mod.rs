//! Linux: a cgroup that eBPF programs guard, with nftables as the backstop.

pub mod backstop;
pub mod spawn;
pub mod user;

#[cfg(test)]
mod testing;
