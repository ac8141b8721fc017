//! HTTP/1 as its server speaks it (RFC 9112), on the jail's side, where the attackers are.

mod answer;
mod date;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod head;
mod scratch;
mod wire;

pub(super) use answer::{Asked, refusal, write};
pub(super) use head::{Head, HeadError};
pub(super) use scratch::Scratch;
pub(super) use wire::{Broken, Wire};
