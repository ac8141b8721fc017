//! The proxy: accepts what the kernel side redirects, reads HTTP, asks the gate, forwards.

mod flow;

pub use crate::policy::SyntheticNames;
pub use flow::{Flow, FlowTable};
