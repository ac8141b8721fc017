//! `cargo xtask soak`: a mixed load for an hour, in the bench's arena.

mod args;
mod course;
mod load;
mod sample;
mod table;

pub(crate) use args::SoakArgs;
pub(crate) use course::{soak, soak_inside};
