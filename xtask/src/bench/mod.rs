//! `cargo xtask bench`: httpjail against squid and against no jail, in one run on one machine.

mod arena;
mod args;
mod contestant;
mod crowd;
mod load;
mod median;
mod origin;
mod program;
mod report;
mod rival;
mod startup;
mod streams;
mod suite;
mod transfer;
mod usage;

pub(crate) use arena::enter as bench;
pub(crate) use args::BenchArgs;
pub(crate) use suite::inside;
