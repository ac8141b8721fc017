//! What can stop a run, and what the user can do about it. What has to do with one system's kernel is
//! behind `cfg`; the rest reads the same everywhere.

use std::{error::Error, ffi::OsString, io, net::SocketAddr, path::PathBuf};

#[cfg(target_os = "linux")]
use super::container::EngineError;
#[cfg(target_os = "macos")]
use super::macos::MacError;
use super::{Unstarted, pem_file::PemError};
#[cfg(target_os = "linux")]
use crate::backend::linux::{
    KernelError,
    backstop::BackstopError,
    spawn::{SpawnError, Step},
};
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

    /// What the user can do, where there is something.
    pub fn hint(&self) -> Option<String> {
        if let Some(hint) = shortage(self) {
            return Some(hint.to_owned());
        }
        let hint = match self {
            Self::Lacking(missing) => {
                return Some(format!(
                    "it takes {}. Without --strict it runs, and doesn't hold back {}",
                    missing.remedy, missing.holds
                ));
            }
            Self::NotRoot => {
                "run it through sudo: sudo httpjail … Without root there is --weak, which tells \
                 programs of the proxy by their environment and can't force them to use it"
            }
            #[cfg(target_os = "macos")]
            Self::Mac(error) => return error.hint().map(str::to_owned),
            Self::Kept(error) => return error.hint(),
            #[cfg(target_os = "linux")]
            Self::Engine(error) => return error.hint().map(str::to_owned),
            Self::Folder(_) => "TMPDIR must name a folder that you may write to",
            Self::Bind { .. } => {
                "HTTPJAIL_HTTP_BIND and HTTPJAIL_HTTPS_BIND say where else to listen"
            }
            Self::Clients(_) if cfg!(target_os = "macos") => {
                "the sysctl net.inet.tcp.pcblist_n isn't as it was known when this was made; please \
                 report it, with what sw_vers prints"
            }
            Self::Clients(_) => "it takes /proc: mount -t proc proc /proc",
            Self::Descriptors { .. } => MORE_DESCRIPTORS,
            Self::RuleFile { .. } => {
                "keep it in a folder that the command's user can't write, nor one above it; without \
                 --strict it is read once, at the start"
            }
            Self::RunDir(_) => "/run must be writable for root; is this a read-only container?",
            Self::Hierarchy(_) => {
                "httpjail needs cgroup v2: mount -t cgroup2 cgroup2 /sys/fs/cgroup"
            }
            #[cfg(target_os = "linux")]
            Self::Kernel(KernelError::Changed { .. }) => {
                "end the jails that live, then: httpjail cleanup --all"
            }
            #[cfg(target_os = "linux")]
            Self::Kernel(_) => {
                "httpjail needs Linux 5.19 or later with eBPF, and CAP_BPF, \
                                CAP_NET_ADMIN and CAP_SYS_ADMIN in the initial namespaces"
            }
            #[cfg(target_os = "linux")]
            Self::Spawn(
                SpawnError::Clone(source)
                | SpawnError::Child { step: Step::Mount | Step::Mask, source },
            ) if source.kind() == io::ErrorKind::PermissionDenied => {
                "the command's namespaces and mounts need CAP_SYS_ADMIN, which containers \
                                mostly lack, and no profile that forbids mounts"
            }
            #[cfg(target_os = "linux")]
            Self::Spawn(SpawnError::Descriptor { .. }) => {
                "standard streams can be files, pipes, terminals, and sockets that are connected \
                                streams; put a pipe between: … | httpjail … | …"
            }
            #[cfg(target_os = "linux")]
            Self::Spawn(SpawnError::Open { .. }) => {
                "nothing was run. lo must be up, and no firewall rule may hold up what goes over \
                                it; sudo httpjail doctor tries every guard, and sudo httpjail \
                                cleanup --all has the programs put up anew"
            }
            Self::End(source) if source.kind() == io::ErrorKind::TimedOut => {
                "what is left has no network. It ends when the kernel lets go of it; then remove \
                                it by: sudo httpjail cleanup"
            }
            Self::JailsLive(_) => "wait for them to end, or end them, and try again",
            Self::Changeable { .. } => {
                "let it belong to root, and its folders too, and let nobody else write to it (chown \
                 root, chmod go-w); or run the command as another user (--user). Without --strict it \
                 runs"
            }
            Self::Program { source, .. } => return Some(program_hint(source).to_owned()),
            Self::Log(_) => {
                "the log must be a file that the invoking user may write, and no symbolic link"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// What helps where the rule's program can't be run.
fn program_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "nothing was run. Give the program's path, or a name that is in PATH; its #! line must \
             name a program, too"
        }
        io::ErrorKind::PermissionDenied => {
            "nothing was run. The user who called must be able to read and execute it: chmod a+rx"
        }
        _ => "nothing was run. Try the program by itself first",
    }
}

const MORE_DESCRIPTORS: &str = "allow more: ulimit -n 1024";

/// What helps when the system was short of something, whatever was being done.
fn shortage(error: &SessionError) -> Option<&'static str> {
    let mut cause = error.source();
    while let Some(error) = cause {
        let errno = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        match errno {
            Some(libc::EMFILE) => return Some(MORE_DESCRIPTORS),
            Some(libc::ENFILE) => {
                return Some("the whole system has too many open files: sysctl fs.file-max");
            }
            _ => cause = error.source(),
        }
    }
    None
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_descriptors_is_told_as_such() {
        let emfile = || io::Error::from_raw_os_error(libc::EMFILE);
        let kernel = SessionError::Kernel(KernelError::Cgroup(emfile()));
        for error in [SessionError::RunDir(emfile()), kernel, SessionError::Proxy(emfile())] {
            assert_eq!(error.hint().as_deref(), Some(MORE_DESCRIPTORS), "{error:?}");
        }
        let other = SessionError::RunDir(io::Error::from_raw_os_error(libc::EROFS));
        assert!(other.hint().unwrap().contains("/run must be writable"));
    }
}
