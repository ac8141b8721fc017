//! What can stop a run, and what the user can do about it. What has to do with one system's kernel is
//! behind `cfg`; the rest reads the same everywhere.

use std::{ffi::OsString, io, net::SocketAddr, path::PathBuf};

#[cfg(target_os = "linux")]
use super::container::EngineError;
#[cfg(target_os = "macos")]
use super::macos::MacError;
use super::{Unstarted, pem_file::PemError};
#[cfg(target_os = "linux")]
use crate::backend::linux::{KernelError, backstop::BackstopError, spawn::SpawnError};
use crate::{
    backend::{finding::Optional, user::UserError},
    record::LogError,
    tls::{AuthorityError, KeptError, TrustError},
    upstream,
};

/// Why httpjail itself failed. Every variant completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// What only macOS can refuse.
    #[cfg(target_os = "macos")]
    #[error(transparent)]
    Mac(#[from] MacError),
    /// The effective user isn't root.
    #[error("put up a jail: this needs root")]
    NotRoot,
    /// The limit of open files is too low from the start.
    #[error("put up a jail with the limit of {limit} open files, and {workers} workers")]
    Descriptors {
        /// The limit.
        limit: u64,
        /// How many threads are to serve.
        workers: usize,
    },
    /// `/run/httpjail` can't be used.
    #[error("make the run's folder below /run/httpjail")]
    RunDir(#[source] io::Error),
    /// The folder of a run without root can't be made.
    #[error("make the run's folder for temporary files")]
    Folder(#[source] io::Error),
    /// A place to listen at.
    #[error("listen at {address}")]
    Bind {
        /// The place.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// It can't be told who uses the proxy.
    #[error("find out whose connections come to the proxy")]
    Clients(#[source] io::Error),
    /// The run's authority.
    #[error("make this run's CA")]
    Authority(#[from] AuthorityError),
    /// The kept authority.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// Nothing says where a user's configuration is.
    #[error("find your configuration: HOME names no folder")]
    NoHome,
    /// The proxy of `--server` ended.
    #[error("go on serving: the proxy ended; its own message is above")]
    ServerDied,
    /// Something that the command started stays.
    #[error("end what the command has started")]
    EndCommand(#[source] io::Error),
    /// Signals can't be caught.
    #[error("take over the signals")]
    Signals(#[source] io::Error),
    /// The caller's cgroup can't be told.
    #[error("find the cgroup v2 hierarchy")]
    Hierarchy(#[source] io::Error),
    /// The cgroup, the programs or the maps.
    #[cfg(target_os = "linux")]
    #[error("put up the kernel side")]
    Kernel(#[from] KernelError),
    /// A jail's own cgroup or map entry.
    #[error("put up the jail's cgroup")]
    Jail(#[source] io::Error),
    /// The nftables rule.
    #[cfg(target_os = "linux")]
    #[error("put up the nftables backstop")]
    Backstop(#[from] BackstopError),
    /// The invoking user can't be told.
    #[error("tell who called")]
    User(#[from] UserError),
    /// A guard that `--strict` asks for.
    #[error("put up the guard {}, which --strict asks for: this host can't give it", .0.guard)]
    Lacking(Optional),
    /// The request log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A file of certificates.
    #[error("read the certificates in {}", path.display())]
    UpstreamCa {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: PemError,
    },
    /// A certificate in such a file can't be trusted.
    #[error("trust every certificate in {}", path.display())]
    UnusableCa {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: upstream::TrustError,
    },
    /// A file of `--client-cert`.
    #[error("read {} (--client-cert)", path.display())]
    ClientCert {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: PemError,
    },
    /// A certificate and a key that are of no use together.
    #[error("use {} with the key {} (--client-cert)", certificate.display(), key.display())]
    ClientPair {
        /// The certificate's path.
        certificate: PathBuf,
        /// The key's path.
        key: PathBuf,
        /// The cause.
        source: upstream::IdentityError,
    },
    /// What `--allow-unix` names isn't there, or isn't that.
    #[error("open {} to the command (--allow-unix)", path.display())]
    AllowUnix {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The command could write its own rule, and `--strict` asks for what it can't.
    #[error("guard the rule file {}, which --strict asks for: the command can write {}",
        path.display(), what.display())]
    RuleFile {
        /// Its path.
        path: PathBuf,
        /// The file, or the folder on the way to it.
        what: PathBuf,
    },
    /// The proxy role could not be started, or ended before it was ready.
    #[error("start the proxy")]
    Proxy(#[source] io::Error),
    /// The role that carries standard streams.
    #[error("carry the standard streams that are sockets")]
    Relay(#[source] io::Error),
    /// The proxy ended while the jail was tried.
    #[error("start the proxy: it ended before it served; its own message is above")]
    ProxyEnded,
    /// The process that runs the rule's program could not be made.
    #[error("run the rule's program")]
    Rules(#[source] io::Error),
    /// The rule's program can't be run.
    #[error("run {} ({option})", name.display())]
    Program {
        /// The option that names it.
        option: &'static str,
        /// Its name, as it was given.
        name: OsString,
        /// The cause.
        source: io::Error,
    },
    /// The command could change what decides about it, and `--strict` forbids that.
    #[error("keep the command from what decides ({option}): it may write to {}", path.display())]
    Changeable {
        /// The option that names the program.
        option: &'static str,
        /// What it may write to.
        path: PathBuf,
    },
    /// The process that runs the rule's program died under the running command.
    #[error("go on without the process that asks the rule, which ended; the jail was ended, too")]
    RulesDied,
    /// The CA bundle.
    #[error("prepare the certificates for the command")]
    Trust(#[from] TrustError),
    /// No randomness.
    #[error("prepare the test of the jail")]
    Canary(#[source] io::Error),
    /// The command could not be started.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The wait for the command.
    #[error("wait for the command")]
    Wait(#[source] io::Error),
    /// The proxy died under the running command.
    #[error("go on without the proxy, which ended; the jail was ended, too")]
    ProxyDied,
    /// Processes that can't be killed, or what the kernel won't remove.
    #[error("end the jail")]
    End(#[source] io::Error),
    /// Jails live below the parent that should go.
    #[error("remove what living jails use (there are {0})")]
    JailsLive(usize),
    /// A container.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A parent can't be removed.
    #[error("remove {}", path.display())]
    Remove {
        /// The cgroup.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl SessionError {
    /// Why what the user names could not be started, if that is it.
    pub fn unstarted(&self) -> Option<Unstarted> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Spawn(SpawnError::NotFound(_)) => Some(Unstarted::NotFound),
            #[cfg(target_os = "linux")]
            Self::Spawn(SpawnError::NotExecutable { .. }) => Some(Unstarted::NotRunnable),
            #[cfg(target_os = "macos")]
            Self::Mac(error) => error.unstarted(),
            Self::Program { .. } => Some(Unstarted::NoRule),
            _ => None,
        }
    }
}
