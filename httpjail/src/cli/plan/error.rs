//! Why a command line is no plan.

use std::path::PathBuf;

use httpjail_common::jail::MAX_PUBLISHED;

use super::BindError;
use crate::{
    cli::upstream_proxy::VariableError,
    policy::AuthorityError,
    rules::{ProgramError, RuleError},
};

/// Why the command line is no plan; completes "failed to ...".
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Neither a command nor anything else to do.
    #[error("start: no command was given")]
    NoCommand,
    /// What was meant as the value of `--allow-private` stands where the command does.
    #[error("start: `{0}` is a network, not a command")]
    Network(String),
    /// More ports than the kernel side holds.
    #[error("publish {0} ports: {MAX_PUBLISHED} are the most")]
    Published(usize),
    /// Lines of two kinds that would stand in one file.
    #[error("write the request log and the records: both are {}", .0.display())]
    OneLog(PathBuf),
    /// The rule can't be used.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The rule names no program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The environment names a proxy that can't be used.
    #[error(transparent)]
    Proxy(#[from] VariableError),
    /// The environment names no place to listen at.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// `--test` was given no HTTP method.
    #[error("understand --test: `{0}` isn't an HTTP method")]
    Method(String),
    /// `--test` was given no URL.
    #[error("understand --test: `{0}` isn't a URL such as https://example.com/path")]
    Url(String),
    /// A connection as a whole that is given a method, or no port.
    #[error("understand --test: `{0}` means a connection; it takes a port and no method")]
    Connection(String),
    /// The URL names no host that could be dialled.
    #[error("understand --test: `{url}`")]
    Authority {
        /// As given.
        url: String,
        /// What is wrong with it.
        source: AuthorityError,
    },
}

impl PlanError {
    /// What the user can do about it.
    pub(in crate::cli) fn hint(&self) -> Option<String> {
        match self {
            Self::NoCommand => Some(
                "name the command to run: httpjail --js \"r.host === 'example.com'\" -- curl \
                 https://example.com\n      `httpjail --help` has more"
                    .to_owned(),
            ),
            Self::Network(network) => {
                Some(format!("write --allow-private={network}, with an equals sign"))
            }
            Self::Proxy(_) => Some(
                "name another by --upstream-proxy, or go without: --upstream-proxy none".to_owned(),
            ),
            Self::Bind(_) => Some(BindError::hint()),
            Self::OneLog(_) => Some(
                "give each a file of its own; a record holds all that a line of the log does"
                    .to_owned(),
            ),
            Self::Published(_)
            | Self::Rule(_)
            | Self::Program(_)
            | Self::Method(_)
            | Self::Url(_)
            | Self::Connection(_)
            | Self::Authority { .. } => None,
        }
    }
}
