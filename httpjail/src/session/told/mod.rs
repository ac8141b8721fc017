//! The modes in which programs are told of the proxy, and nothing but their obedience brings them to
//! it: `--weak` and `--server`.

mod clients;
mod environment;
mod folder;
mod hide;
mod role;
mod server;
mod weak;

use hide::hide;
pub use server::run_server;
pub use weak::run_weak;
