//! The modes in which programs are told of the proxy, and nothing but their obedience brings them to
//! it: `--weak` and `--server`.

mod clients;
mod environment;
mod folder;
mod role;
mod weak;

pub use weak::run_weak;
