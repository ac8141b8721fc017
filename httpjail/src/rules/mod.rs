//! Rule engines: what the user wrote, as something that judges requests.

mod answer;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod listed;
mod programs;
mod quickjs;
mod reload;
mod source;
mod warnings;

use std::{io, sync::Arc};

pub use error::RuleError;
pub use listed::listed;
pub use programs::{Kind, Link, Program, ProgramError, serve as serve_program};
pub use quickjs::{Js, Replaced};
pub use reload::Reload;
pub use source::RuleSource;

use crate::policy::{Engines, NoRule, RunFacts};

/// What decides in a run.
#[derive(Clone, Debug)]
pub enum Rules {
    /// No rule was given: all is denied.
    Absent,
    /// A rule in JavaScript.
    QuickJs(Js),
    /// A program, which nothing runs yet: all is denied.
    Program(Program),
    /// A program that another process runs.
    Linked(Link),
}

impl Rules {
    /// The rule in JavaScript, by which another may be put in its place in the engines that the
    /// factory makes.
    pub fn javascript(&self) -> Option<Js> {
        match self {
            Self::QuickJs(js) => Some(js.clone()),
            Self::Absent | Self::Program(_) | Self::Linked(_) => None,
        }
    }

    /// Checks a rule in JavaScript; nothing of it is run.
    ///
    /// # Errors
    ///
    /// [`RuleError`] with the place of the error.
    pub fn compile(source: &RuleSource) -> Result<Self, RuleError> {
        Js::compile(source.name(), source.text()).map(Self::QuickJs)
    }

    /// What decides for the worker threads; `run` is what they know of all
    /// requests. After a fork, call it in the process that decides.
    ///
    /// # Errors
    ///
    /// When a thread that it takes can't be started.
    pub fn into_engines(self, run: RunFacts) -> io::Result<Engines> {
        Ok(match self {
            Self::Absent | Self::Program(_) => Engines::Local(Arc::new(NoRule)),
            Self::QuickJs(js) => Engines::Local(Arc::new(js.in_run(run))),
            Self::Linked(link) => Engines::Remote(Arc::new(link.open(run)?)),
        })
    }
}

#[cfg(test)]
mod tests;
