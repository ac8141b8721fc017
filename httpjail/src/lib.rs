//! httpjail runs a command so that only the HTTP(S) requests that a rule allows get out.
//!
//! The library holds everything; the binary only calls [`cli::main`]. `ARCHITECTURE.md` draws
//! the layers; the dependency direction is
//! `cli → session → {backend, proxy, dns, rules, record, tls, upstream} → {policy, streams}`, and
//! nothing on the proxy's side knows the backend, nor the other way round: they meet in [`session`].

pub mod backend;
pub mod cli;
pub mod dns;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod policy;
pub mod proxy;
pub mod record;
pub mod rules;
pub mod session;
mod streams;
pub mod tls;
pub mod upstream;
