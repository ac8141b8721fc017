//! Bodies as they arrive and leave, over either version of HTTP.

mod arriving;
mod pump;
mod received;

pub(crate) use arriving::{Arriving, BodyError, Polled};
pub(crate) use pump::Pump;
pub(crate) use received::{Received, Rest};
