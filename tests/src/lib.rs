//! A lab for httpjail on the real kernel.
//!
//! A [`Lab`] is a machine's network in miniature: a client namespace, where jails run, joined by a
//! veth pair to an origin namespace with web servers, a name server and a [`Sniffer`] that sees
//! every frame that got out. Neither has a default route, so nothing can leave the machine. Each
//! test builds its own and proves by [`Lab::assert_clean`] that nothing outlives it.
//!
//! Every "blocked" has a twin: the same act by the same probe, run without the jail, gets out.

pub use crate::bound::Bound;
pub use crate::cgroup::Cgroup;
pub use crate::grpc::{Call, GRPC_PORT, GrpcOrigin, Plain};
pub use crate::invocation::Invocation;
pub use crate::lab::{
    BANNER, BANNER_PORT, DOCKER_GID, FRIENDS_GID, Lab, USER_GID, USER_NAME, USER_UID,
};
pub use crate::origin::{Origin, Reply, Seen, folder};
pub use crate::process::{Finished, Running};
pub use crate::raw::{Duplex, echo_websocket};
pub use crate::sniffer::{Frame, Sniffer};
pub use crate::ssh::SshServer;

pub mod act;
pub mod addresses;
pub mod cgroup;
pub mod containers;
pub mod markdown;
pub mod openssl;
pub mod programs;
pub mod records;
pub mod sys;

mod authority;
mod bound;
mod forward_proxy;
mod grpc;
mod invocation;
mod lab;
mod nameserver;
mod namespace;
mod network;
mod origin;
mod postgres;
mod process;
mod raw;
mod servers;
mod sniffer;
mod ssh;

/// How long anything that ought to happen may take before a test gives up on it.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);
