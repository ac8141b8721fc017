//! What can stop a run, and what the user can do about it.

use std::{io, path::PathBuf};

/// Why httpjail itself failed. Every variant completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The effective user isn't root.
    #[error("put up a jail without root")]
    NotRoot,
    /// `/run/httpjail` can't be used.
    #[error("make the run's folder below /run/httpjail")]
    RunDir(#[source] io::Error),
    /// Signals can't be caught.
    #[error("take over the signals")]
    Signals(#[source] io::Error),
    /// The cgroup, the programs or the maps.
    #[error("put up the kernel side")]
    Kernel(#[from] crate::backend::linux::KernelError),
    /// The nftables rule.
    #[error("put up the nftables backstop")]
    Backstop(#[source] crate::backend::linux::backstop::BackstopError),
    /// The request log.
    #[error("open the request log {}", path.display())]
    Log {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The proxy role could not be started, or ended before it was ready.
    #[error("start the proxy")]
    Proxy(#[source] io::Error),
    /// The CA bundle.
    #[error("write the CA bundle for the command")]
    Bundle(#[source] io::Error),
    /// The command could not be cloned into the jail.
    #[error("start the command in the jail")]
    Spawn(#[source] io::Error),
    /// The wait for the command.
    #[error("wait for the command")]
    Wait(#[source] io::Error),
    /// The proxy died under the running command.
    #[error("go on without the proxy, which ended; the jail was ended, too")]
    ProxyDied,
    /// Jails live below the parent that should go.
    #[error("remove what living jails use ({0} jails live)")]
    JailsLive(usize),
}

impl SessionError {
    /// What the user can do, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotRoot => Some("run it through sudo: sudo httpjail …"),
            Self::RunDir(_) => Some("/run must be writable for root; is this a read-only container?"),
            Self::JailsLive(_) => Some("wait for them to end, or end them, and try again"),
            _ => None,
        }
    }
}
