//! The jail's only name server. It answers every name with an address of its own making and
//! asks nobody: a name that no rule allowed never leaves the machine, not even as a DNS query.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod message;
mod stub;
mod synthetic;

pub use message::reply;
pub use stub::{DnsError, Stub};
pub use synthetic::{Addresses, Exhausted, Names};
