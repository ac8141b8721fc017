//! What the gate needs of a rule engine and of the system, as traits.

use std::{cell::RefCell, fmt, io, pin::Pin, sync::Arc};

use super::{DecidedBy, Decision, Denial, DenyReason, RequestFacts};

/// Judges requests. One instance belongs to one worker thread.
pub trait RuleEngine {
    /// Judges one request, within the engine's own budget of time and memory. Whatever goes
    /// wrong inside is a denial; this never panics and never blocks without bound.
    fn decide(&mut self, facts: &RequestFacts) -> Decision;

    /// Who made the last decision.
    fn decided_by(&self) -> DecidedBy {
        DecidedBy::Engine("rule")
    }

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

/// A decision that somebody else is to make.
pub type Awaited = Pin<Box<dyn Future<Output = Decision>>>;

/// Has requests judged by somebody else, who takes their time: other requests go on meanwhile. One
/// instance serves all worker threads.
pub trait RemoteEngine: Send + Sync {
    /// Asks about one request. The answer comes in bounded time; whatever goes wrong is a denial.
    fn ask(&self, facts: &Arc<RequestFacts>) -> Awaited;

    /// Who decides about such a request.
    fn decided_by(&self, facts: &RequestFacts) -> DecidedBy;

    /// As [`RuleEngine::may_open_tcp`].
    fn may_open_tcp(&self) -> bool {
        false
    }
}

/// What decides in a run, as the proxy is given it.
#[derive(Clone)]
pub enum Engines {
    /// Each worker thread decides at once, with an engine of its own.
    Local(Arc<dyn EngineFactory>),
    /// Somebody else decides.
    Remote(Arc<dyn RemoteEngine>),
}

/// What decides about the requests of one worker thread.
pub(super) enum Engine {
    Local(RefCell<Box<dyn RuleEngine>>),
    Remote(Arc<dyn RemoteEngine>),
}

impl Engines {
    /// Judges one request, without a run around it.
    pub async fn decide(&self, facts: &Arc<RequestFacts>) -> Decision {
        match self {
            Self::Local(factory) => factory.engine().decide(facts),
            Self::Remote(remote) => remote.ask(facts).await,
        }
    }

    pub(super) fn engine(&self) -> Engine {
        match self {
            Self::Local(factory) => Engine::Local(RefCell::new(factory.engine())),
            Self::Remote(remote) => Engine::Remote(Arc::clone(remote)),
        }
    }
}

impl fmt::Debug for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local(_) => "Engines::Local",
            Self::Remote(_) => "Engines::Remote",
        })
    }
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

    /// More about `pid`, as it is now, or `None` as for [`ProcessInspector::executable`], and
    /// somewhat dearer.
    ///
    /// # Errors
    ///
    /// As for [`ProcessInspector::executable`].
    fn details(&self, pid: u32) -> io::Result<Option<ProcessDetails>>;
}

/// What a process is, as far as it must be looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessDetails {
    /// The path of the program that it runs.
    pub exe: String,
    /// The process that it is a child of.
    pub ppid: u32,
    /// Its arguments, its own name first: what it says of itself, since it can write there.
    pub argv: Vec<String>,
}

/// What a rule may know that is the same for all requests of a run.
#[derive(Clone)]
pub struct RunFacts {
    /// The run's id, where there is a run.
    pub jail: Option<String>,
    /// Who tells about processes.
    pub processes: Arc<dyn ProcessInspector>,
}

impl fmt::Debug for RunFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunFacts").field("jail", &self.jail).finish_non_exhaustive()
    }
}

/// Where there are no processes to look at.
#[derive(Clone, Copy, Debug)]
pub struct NoProcesses;

impl ProcessInspector for NoProcesses {
    fn executable(&self, _pid: u32) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn details(&self, _pid: u32) -> io::Result<Option<ProcessDetails>> {
        Ok(None)
    }
}

impl Default for RunFacts {
    /// Those of no run.
    fn default() -> Self {
        Self { jail: None, processes: Arc::new(NoProcesses) }
    }
}

/// The engine that stands in when no rule was given: all is denied.
#[derive(Clone, Copy, Debug)]
pub struct NoRule;

impl RuleEngine for NoRule {
    fn decided_by(&self) -> DecidedBy {
        DecidedBy::Engine("none")
    }

    fn decide(&mut self, _facts: &RequestFacts) -> Decision {
        Decision::Deny(Denial::new(DenyReason::NoRule))
    }
}

impl EngineFactory for NoRule {
    fn engine(&self) -> Box<dyn RuleEngine> {
        Box::new(Self)
    }
}
