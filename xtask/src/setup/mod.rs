//! Finds what this machine lacks for a purpose, and installs it.

mod install;
mod needs;
mod plan;

pub(crate) use install::{mitmdump, zig};
pub(crate) use needs::Purpose;
pub(crate) use plan::ensure;
