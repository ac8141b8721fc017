//! Ways out of the jail, one test each, by their numbers in the catalogue of
//! `cargo xtask escape`.
//!
//! Each act is first done without the jail, where it has to work (else the test proves nothing),
//! then in a jail by a plain user and by root, where it must not. Entries of the catalogue that
//! other suites prove in full have no test here.

mod kernel;
mod local;
mod network;
mod processes;
mod requests;
mod trial;
