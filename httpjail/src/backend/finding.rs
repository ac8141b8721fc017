//! What the doctor finds, on any system.

use std::fmt;

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
