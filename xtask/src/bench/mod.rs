//! `cargo xtask bench`: httpjail against squid, mitmproxy and no jail, in one run on one machine.
//! `cargo xtask soak`: httpjail for an hour.

mod arena;
mod args;
mod contestant;
mod cost;
mod crowd;
mod deciding;
mod load;
mod median;
mod origin;
mod profile;
mod program;
mod report;
mod rival;
mod soak;
mod startup;
mod streams;
mod suite;
mod sustained;
mod transfer;
mod usage;

pub(crate) use args::BenchArgs;
pub(crate) use soak::{SoakArgs, soak, soak_inside};
pub(crate) use suite::{bench, inside};
