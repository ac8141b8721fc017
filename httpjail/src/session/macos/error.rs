//! What can stop a run on macOS alone.

use std::{ffi::OsString, io};

use httpjail_macos::{accounts::AccountError, pfctl::PfError};

use crate::{
    backend::{macos::Open, user::UserError},
    session::Unstarted,
};

/// What only macOS can refuse. Every variant completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum MacError {
    /// An option that asks for what can't be had here.
    #[error("do what {0} asks for: it isn't possible on macOS")]
    Unsupported(&'static str),
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
    /// `/var/run/httpjail` can't be used.
    #[error("make the run's folder below /var/run/httpjail")]
    Folder(#[source] io::Error),
    /// Processes of a dead run that can't be killed.
    #[error("end what a dead run left")]
    Remains(#[source] io::Error),
    /// pf can't be asked.
    #[error("open /dev/pf")]
    Device(#[source] io::Error),
    /// pf's rules.
    #[error("put up pf's rules")]
    Pf(#[from] PfError),
    /// The jail isn't shut.
    #[error("shut the jail: {}", open(.0))]
    Open(Open),
    /// There is no such command.
    #[error("find the command {0:?}")]
    NotFound(OsString),
    /// The command can't be executed.
    #[error("execute {command:?}")]
    NotExecutable {
        /// The command.
        command: OsString,
        /// The cause.
        source: io::Error,
    },
    /// Something that the command started stays.
    #[error("end what the command has started; which processes are left is told above")]
    Left,
    /// The keeper died.
    #[error("go on without the process that keeps the command, which ended")]
    KeeperDied,
}

impl MacError {
    /// Why the command itself could not be started, if that is it.
    pub fn unstarted(&self) -> Option<Unstarted> {
        match self {
            Self::NotFound(_) => Some(Unstarted::NotFound),
            Self::NotExecutable { .. } => Some(Unstarted::NotRunnable),
            _ => None,
        }
    }

    /// What the user can do, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
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
                "with a jail, what still runs as its account has no network; sudo httpjail cleanup \
                 removes what is left"
            }
            _ => return None,
        })
    }
}

fn open(open: &Open) -> &'static str {
    match open {
        Open::Connection => "a connection from inside didn't come to the proxy",
        Open::Datagram => "a datagram from inside got out",
    }
}
