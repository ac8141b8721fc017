//! What the gate needs of a rule engine and of the system, as traits.

use std::io;

use super::{Decision, Denial, DenyReason, RequestFacts};

/// Judges requests. One instance belongs to one worker thread.
pub trait RuleEngine {
    /// Judges one request, within the engine's own budget of time and memory. Whatever goes
    /// wrong inside is a denial; this never panics and never blocks without bound.
    fn decide(&mut self, facts: &RequestFacts) -> Decision;

    /// Makes what the next decision needs, so that it needn't. Called when nobody waits; an
    /// engine that is ready does nothing.
    fn prepare(&mut self) {}

    /// Whether an answer may open a connection whose bytes nobody reads. Where none can, a client
    /// that says nothing is not asked about.
    fn may_open_tcp(&self) -> bool {
        false
    }
}

/// Makes one engine for each worker thread from rules that have been checked already.
pub trait EngineFactory: Send + Sync {
    /// A fresh engine for the calling thread.
    fn engine(&self) -> Box<dyn RuleEngine>;
}

/// Looks up what the kernel knows about a jailed process.
pub trait ProcessInspector: Send + Sync {
    /// The path of the program that `pid` runs now, or `None` when it has ended or isn't in this
    /// jail. May take some tens of microseconds.
    ///
    /// # Errors
    ///
    /// When it could not be found out: no decision may rest on that.
    fn executable(&self, pid: u32) -> io::Result<Option<String>>;
}

/// Stands in where no process can be looked at.
#[derive(Clone, Copy, Debug)]
pub struct NoProcesses;

impl ProcessInspector for NoProcesses {
    fn executable(&self, _pid: u32) -> io::Result<Option<String>> {
        Ok(None)
    }
}

/// The engine that stands in when no rule was given: all is denied.
#[derive(Clone, Copy, Debug)]
pub struct NoRule;

impl RuleEngine for NoRule {
    fn decide(&mut self, _facts: &RequestFacts) -> Decision {
        Decision::Deny(Denial::new(DenyReason::NoRule))
    }
}

impl EngineFactory for NoRule {
    fn engine(&self) -> Box<dyn RuleEngine> {
        Box::new(Self)
    }
}
