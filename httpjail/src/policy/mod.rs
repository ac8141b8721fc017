//! What is asked, who asks, and what was decided: pure types, no sockets, files or kernel.

mod decided_by;
mod decision;
mod engine;
mod facts;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod gate;
mod headers;
mod host;
mod json;
mod judging;
mod lists;
mod names;
mod openings;
mod path;
mod pattern;
mod permit;
mod pulse;
mod request_pattern;
mod seldom;
mod wildcard;

pub use decided_by::DecidedBy;
pub use decision::{Decision, Denial, DenyReason, Limits, Opaque};
pub use engine::{
    Awaited, EngineFactory, Engines, NoProcesses, NoRule, ProcessDetails, ProcessInspector,
    RemoteEngine, RuleEngine, RunFacts,
};
pub use facts::{AuthorityInUrl, Process, RequestFacts, Scheme};
pub use gate::{Gate, Silent};
pub use headers::Headers;
pub use host::{Authority, AuthorityError, Host, HostPort};
pub use judging::Judging;
pub use lists::{Listed, Lists};
pub use names::SyntheticNames;
pub use openings::{Opened, OpeningError, Openings, TcpTarget};
pub use path::PathError;
pub use pattern::{HostPattern, is_below};
pub use permit::Permitted;
pub use pulse::Pulse;
pub use request_pattern::{PatternError, Problem, RequestPattern};
pub use seldom::Seldom;
