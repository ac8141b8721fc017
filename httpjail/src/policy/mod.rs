//! What is asked, who asks, and what was decided: pure types, no sockets, files or kernel.

mod decision;
mod engine;
mod facts;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod gate;
mod host;
mod names;
mod openings;
mod pattern;
mod permit;
mod pulse;
mod seldom;

pub use decision::{Decision, Denial, DenyReason, Limits, Opaque};
pub use engine::{EngineFactory, NoProcesses, NoRule, ProcessInspector, RuleEngine};
pub use facts::{AuthorityInUrl, Process, RequestFacts, Scheme};
pub use gate::{Gate, Silent};
pub use host::{Authority, AuthorityError, Host, HostPort};
pub use names::SyntheticNames;
pub use openings::{HostPattern, Opened, OpeningError, Openings, TcpTarget};
pub use pattern::{OriginPattern, is_below};
pub use permit::Permitted;
pub use pulse::Pulse;
pub use seldom::Seldom;
