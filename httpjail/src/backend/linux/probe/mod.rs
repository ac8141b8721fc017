//! What this host offers to a jail, tried out without leaving a trace.

mod guards;

use std::fmt;

use super::spawn::has_landlock;

/// One guard, and how it stands on this host.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The guard's name.
    pub guard: &'static str,
    /// What it holds back.
    pub holds: &'static str,
    /// The first kernel version that has it.
    pub since: &'static str,
    /// Whether no jail is put up without it.
    pub mandatory: bool,
    /// How it stands.
    pub state: State,
    /// What would mend it, where something can.
    pub remedy: Option<&'static str>,
}

/// How a guard stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It holds; the text says what was seen.
    Holds(String),
    /// It doesn't; the text says why.
    Missing(String),
    /// It can't be tried by this user.
    Unknown(&'static str),
}

impl State {
    /// Whether the guard is known to hold.
    pub fn holds(&self) -> bool {
        matches!(self, Self::Holds(_))
    }

    /// What was seen, or what stands in the way.
    pub fn detail(&self) -> &str {
        match self {
            Self::Holds(detail) | Self::Missing(detail) => detail,
            Self::Unknown(detail) => detail,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Holds(_) => "holds",
            Self::Missing(_) => "missing",
            Self::Unknown(_) => "unknown",
        })
    }
}

/// A guard that jails can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Optional {
    /// Its name, as in [`Finding`].
    pub guard: &'static str,
    /// What it holds back.
    pub holds: &'static str,
    /// What would mend it.
    pub remedy: &'static str,
}

/// The guard that jails can do without and that this host can't give. It is asked for at every
/// start, so it costs one call. (Without IPv6 nothing is open.)
pub fn lacking() -> Option<Optional> {
    (!has_landlock()).then_some(guards::LANDLOCK)
}

/// Tries every guard. What the caller may not try is said to be unknown.
pub fn findings() -> Vec<Finding> {
    guards::all()
}

/// The running kernel's version, as it calls itself.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
