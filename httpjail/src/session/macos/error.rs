//! What can stop a run on macOS, and what the user can do about it.

use std::{io, path::PathBuf};

use httpjail_macos::{accounts::AccountError, pfctl::PfError};

use crate::{
    backend::{macos::Open, user::UserError},
    record::LogError,
    session::{Unstarted, pem_file::PemError},
    tls::{AuthorityError, KeptError, TrustError},
    upstream,
};

/// Why httpjail itself failed. Every variant completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The effective user isn't root.
    #[error("put up a jail: this needs root")]
    NotRoot,
    /// An option that asks for what can't be had here.
    #[error("do what {0} asks for: it isn't possible on macOS")]
    Unsupported(&'static str),
    /// An option that asks for what isn't made for this system.
    #[error("do what {0} asks for: it isn't there yet on macOS")]
    NotYet(&'static str),
    /// The account isn't one of jails.
    #[error(
        "run the command as `{0}`: on macOS a jail takes an account for itself, kills all that \
             runs as it, and cuts it off"
    )]
    Account(String),
    /// There is no such account.
    #[error("find the account that the command runs as")]
    NoAccount(#[source] UserError),
    /// Another run has the account.
    #[error("take the account {0}: another jail has it")]
    Taken(String),
    /// An account can't be made.
    #[error(transparent)]
    Setup(#[from] AccountError),
    /// The invoking user can't be told.
    #[error("tell who called")]
    User(#[from] UserError),
    /// `/var/run/httpjail` can't be used.
    #[error("make the run's folder below /var/run/httpjail")]
    Folder(#[source] io::Error),
    /// Processes of a dead run that can't be killed.
    #[error("end what a dead run left")]
    Remains(#[source] io::Error),
    /// Signals can't be held.
    #[error("take over the signals")]
    Signals(#[source] io::Error),
    /// pf can't be asked.
    #[error("open /dev/pf")]
    Device(#[source] io::Error),
    /// pf's rules.
    #[error("put up pf's rules")]
    Pf(#[from] PfError),
    /// No randomness.
    #[error("prepare the test of the jail")]
    Canary(#[source] io::Error),
    /// The jail isn't shut.
    #[error("shut the jail: {}", open(.0))]
    Open(Open),
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
    /// The run's CA.
    #[error("make this run's CA")]
    Authority(#[from] AuthorityError),
    /// The kept authority.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// Nothing says where a user's configuration is.
    #[error("find your configuration: HOME names no folder")]
    NoHome,
    /// What decides can't be started.
    #[error("ask the rule")]
    Rules(#[source] io::Error),
    /// The CA bundle.
    #[error("prepare the certificates for the command")]
    Trust(#[from] TrustError),
    /// The proxy could not be started, or failed.
    #[error("serve the jail")]
    Proxy(#[source] io::Error),
    /// There is no such command.
    #[error("find the command {0:?}")]
    NotFound(std::ffi::OsString),
    /// The command can't be executed.
    #[error("execute {command:?}")]
    NotExecutable {
        /// The command.
        command: std::ffi::OsString,
        /// The cause.
        source: io::Error,
    },
    /// The keeper died.
    #[error("go on without the process that keeps the jail, which ended")]
    KeeperDied,
}

impl SessionError {
    /// Why the command itself could not be started, if that is it.
    pub fn unstarted(&self) -> Option<Unstarted> {
        match self {
            Self::NotFound(_) => Some(Unstarted::NotFound),
            Self::NotExecutable { .. } => Some(Unstarted::NotRunnable),
            _ => None,
        }
    }

    /// What the user can do, where there is something.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Kept(error) => return error.hint(),
            Self::NotYet(_) => {
                "docs/platforms.md says what there is; a rule can be written by --js"
            }
            Self::NotRoot => "run it through sudo: sudo httpjail …",
            Self::Account(_) | Self::NoAccount(_) => {
                "make an account for jails: sudo httpjail setup. Others beside it have names such as \
                 _httpjail2: sudo httpjail setup --user _httpjail2"
            }
            Self::Taken(_) => {
                "jails that live at the same time need an account each: sudo httpjail setup --user \
                 _httpjail2, and then --user _httpjail2"
            }
            Self::Open(_) => {
                "nothing was run. /etc/pf.conf must lead to \"com.apple/*\" and must not skip lo0; \
                 sudo httpjail doctor looks at it, and sudo pfctl -s info says whether pf is enabled"
            }
            Self::KeeperDied => {
                "what still runs as the jail's account has no network; sudo httpjail cleanup removes \
                 what is left"
            }
            Self::Log(_) => {
                "the log must be a file that the invoking user may write, and no symbolic link"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn open(open: &Open) -> &'static str {
    match open {
        Open::Connection => "a connection from inside didn't come to the proxy",
        Open::Datagram => "a datagram from inside got out",
    }
}
