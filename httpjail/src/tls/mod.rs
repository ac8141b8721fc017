//! Certificates: what the jailed programs are shown, and how they come to trust it.

mod child_trust;
mod java;

pub use child_trust::{ChildTrust, TrustError};
