//! What the user can do about what stopped a run.

use std::{error::Error, io};

use super::SessionError;
#[cfg(target_os = "linux")]
use crate::backend::linux::{
    KernelError,
    spawn::{SpawnError, Step},
};
use crate::backend::user::UserError;

impl SessionError {
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
            Self::Spawn(error) => return spawn_hint(error).map(str::to_owned),
            #[cfg(target_os = "linux")]
            Self::Backstop(_) => "it takes nftables in the kernel: modprobe nf_tables nft_socket",
            Self::User(UserError::Unknown(_)) => {
                "--user takes a name or an id that the system knows: getent passwd"
            }
            Self::UpstreamCa { .. } | Self::UnusableCa { .. } => {
                "the file holds certificates in PEM, each between BEGIN CERTIFICATE and END CERTIFICATE"
            }
            Self::ClientCert { .. } | Self::ClientPair { .. } => {
                "the first file holds the certificate, and those between it and a root, the second its \
                 key without a password, both in PEM"
            }
            Self::AllowUnix { .. } => "name a socket that is there, or a folder of sockets",
            Self::NoHome => "set HOME to a folder of yours",
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

/// What helps where the command could not be started.
#[cfg(target_os = "linux")]
fn spawn_hint(error: &SpawnError) -> Option<&'static str> {
    match error {
        SpawnError::Clone(source)
        | SpawnError::Child { step: Step::Mount | Step::Mask, source }
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            Some(
                "the command's namespaces and mounts need CAP_SYS_ADMIN, which containers mostly lack, \
                 and no profile that forbids mounts",
            )
        }
        SpawnError::Descriptor { .. } => Some(
            "standard streams can be files, pipes, terminals, and sockets that are connected streams; \
             put a pipe between: … | httpjail … | …",
        ),
        SpawnError::Open { .. } => Some(
            "nothing was run. lo must be up, and no firewall rule may hold up what goes over it; sudo \
             httpjail doctor tries every guard, and sudo httpjail cleanup --all has the programs put \
             up anew",
        ),
        SpawnError::NotFound(_) => Some(
            "give its path, or a name that is in PATH; sudo has a PATH of its own: sudo env \
             \"PATH=$PATH\" httpjail …",
        ),
        SpawnError::NotExecutable { .. } => Some(
            "the user that it runs as must be able to read and execute it, and its #! line, if it has \
             one, must name a program",
        ),
        _ => None,
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

    #[test]
    fn who_can_do_something_about_it_is_told_what() {
        let source = || io::Error::from_raw_os_error(libc::ENOENT);
        for (error, hint) in [
            (SpawnError::NotFound("x".into()).into(), "sudo has a PATH of its own"),
            (
                SpawnError::NotExecutable { command: "x".into(), source: source() }.into(),
                "read and execute it",
            ),
            (UserError::Unknown("x".into()).into(), "--user takes a name or an id"),
            (
                SessionError::AllowUnix { path: "/x".into(), source: source() },
                "a socket that is there",
            ),
            (SessionError::NoHome, "set HOME"),
        ] {
            let told = error.hint().unwrap_or_default();
            assert!(told.contains(hint), "{error}: {told}");
        }
    }
}
