//! macOS: pf sends what a user of the jail's own says to the proxy, and drops the rest.
//!
//! The rules, the look-up of destinations, the accounts and the keychain are the crate
//! `httpjail-macos`, whose tests run on any system. Here is what needs this one. It has never run on
//! a Mac (macos/TESTING.md).

pub(crate) mod acl;
pub(crate) mod canary;
pub(crate) mod descendants;
pub(crate) mod owners;
pub mod probe;
pub(crate) mod process;
pub(crate) mod role;
pub(crate) mod watching;

pub use canary::Open;
