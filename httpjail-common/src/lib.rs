//! The contract between httpjail's kernel programs and its user side.
//!
//! Everything here is compiled for both sides: the structs that lie in shared maps ([`flow`],
//! [`jail`]), the pure verdicts ([`gate`]) and the reasons that are counted ([`event`]). `no_std`
//! and without dependencies, so that the kernel side never sees more than it needs.
#![no_std]
#![forbid(unsafe_code)]

pub mod addr;
pub mod event;
pub mod flow;
pub mod gate;
pub mod jail;
mod layout;
pub mod names;
