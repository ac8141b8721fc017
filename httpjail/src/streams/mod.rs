//! Bodies as they arrive and leave, over either version of HTTP, and what carries them.

mod arriving;
mod bulk;
mod duplex;
pub(crate) mod http1;
mod prefixed;
mod pump;
mod received;
mod stream;

pub(crate) use arriving::{Arriving, BodyError, Polled};
pub(crate) use bulk::Bulk;
pub(crate) use duplex::Duplex;
pub(crate) use prefixed::Prefixed;
pub(crate) use pump::Pump;
pub(crate) use received::{Received, Rest};
pub(crate) use stream::{Boxed, Stream};
