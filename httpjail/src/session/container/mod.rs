//! `--docker-run`: a container of docker or podman, whose processes are jailed by their cgroup.
//!
//! The container is created by the engine's own tool, with the user's arguments as they are; what
//! came of them is read from the engine, and judged; then the proxy's sockets are made in the
//! container's network namespace, out of which there is no other way, and the tool starts it.

mod engine;
mod error;
mod facts;
mod flags;
mod forget;
mod holder;
mod judge;
mod launch;
mod place;
mod prepare;
mod run;

pub(in crate::session) use error::EngineError;
pub(in crate::session) use forget::forget;
pub(in crate::session) use place::is_slice;
pub use run::run_container;
