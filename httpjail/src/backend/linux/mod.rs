//! Linux: a cgroup that eBPF programs guard, with nftables as the backstop.

pub(crate) mod addresses;
pub mod backstop;
mod bpf;
pub(crate) mod cgroup;
pub(crate) mod confine;
pub(crate) mod descendants;
pub(crate) mod devices;
pub(crate) mod exposed;
pub(crate) mod flows;
pub(crate) mod legacy;
pub(crate) mod netns;
pub(crate) mod owners;
pub(crate) mod parent;
pub mod probe;
mod procfs;
mod remains;
pub(crate) mod role;
pub(crate) mod signals;
mod sock_diag;
mod socket_files;
pub mod spawn;

#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod testing;

pub use super::user;
pub(crate) use bpf::maps::{Endpoints, JailId, Maps, Refused};
pub use bpf::object::ObjectError;
pub use parent::KernelError;
