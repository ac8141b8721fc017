//! Why a container can't be run in a jail.

use std::{ffi::OsString, io};

use super::judge::Refusal;
use crate::backend::linux::spawn::SpawnError;

/// Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No tool answers.
    #[error("find a container engine: neither docker nor podman answers")]
    None,
    /// The tool that was named doesn't answer as one does.
    #[error("ask {} about its engine: it doesn't answer as docker or podman do", .0.display())]
    Unknown(OsString),
    /// Its containers are of no use here.
    #[error("jail containers of {}: {why}", tool.display())]
    Unfit {
        /// The tool.
        tool: OsString,
        /// Why.
        why: &'static str,
    },
    /// The tool can't be started.
    #[error("start {}", tool.display())]
    Tool {
        /// Its name.
        tool: OsString,
        /// The cause.
        source: SpawnError,
    },
    /// What the tool says can't be read.
    #[error("read what {} says", tool.display())]
    Read {
        /// Its name.
        tool: OsString,
        /// The cause.
        source: io::Error,
    },
    /// The tool failed; it has said why.
    #[error("{step}: {} failed with status {status}; its own message is above", tool.display())]
    Failed {
        /// What was to be done.
        step: &'static str,
        /// Its name.
        tool: OsString,
        /// Its exit status.
        status: u8,
    },
    /// The tool's answer isn't what it should be.
    #[error("understand what {} says of {what}", tool.display())]
    Answer {
        /// Its name.
        tool: OsString,
        /// Of what.
        what: &'static str,
    },
    /// An option that only `run` has.
    #[error("use --{0} in a jail: the container is created and started in two steps")]
    Option(String),
    /// The container would have ways past its guards.
    #[error("jail the container: {0}")]
    Refused(Refusal),
    /// A mount can't be looked at.
    #[error("look at what the container has mounted from {}", path.display())]
    Mount {
        /// Its source.
        path: std::path::PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The engine put the container elsewhere.
    #[error("find the container's first process in the jail: the engine put it elsewhere")]
    Elsewhere,
    /// The container's network.
    #[error("make the container's network namespace")]
    Netns(#[source] io::Error),
    /// A signal came before the container ran.
    #[error("go on: signal {0} came")]
    Interrupted(u8),
}

impl EngineError {
    /// What the user can do about it.
    pub(in crate::session) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::None => {
                "start docker's engine, or install podman; --engine names a tool that isn't in PATH. \
                 It runs as root: images of rootless engines are brought over by \
                 podman save … | sudo podman load"
            }
            Self::Unknown(_) => "--engine takes docker or podman, by name or path",
            Self::Unfit { .. } => "--engine names another tool",
            Self::Option(_) => {
                "leave it out. httpjail stays with the container; to have it in the background, put \
                 httpjail there"
            }
            Self::Refused(refusal) => refusal.hint(),
            Self::Failed { tool, .. } if tool.to_string_lossy().ends_with("docker") => {
                "docker gives the jail's network as that of another container, and takes no --hostname, \
                 --add-host, --dns, --expose with it; podman does (--engine podman)"
            }
            Self::Elsewhere => {
                "nothing was run. The engine must run on this machine, and must heed --cgroup-parent"
            }
            _ => return None,
        })
    }
}
