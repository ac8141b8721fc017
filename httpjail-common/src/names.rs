//! Names that both sides use. The kernel keeps 15 bytes of a name.

/// Map: jail id → [`crate::jail::JailEntry`].
pub const JAILS: &str = "JAILS";
/// Map: [`crate::flow::FlowKey`] → [`crate::flow::FlowEntry`].
pub const FLOWS: &str = "FLOWS";
/// Socket storage of the proxy's and the stub's sockets: the id of the jail that they serve.
pub const SERVERS: &str = "SERVERS";
/// Map: jail id → [`crate::event::Refusals`].
pub const REFUSALS: &str = "REFUSALS";
/// Map: [`crate::jail::LocalKey`] → one byte.
pub const LOCALS: &str = "LOCALS";

/// Most jails at once on one machine.
pub const MAX_JAILS: usize = 4096;
/// Most connections at once between a `connect()` and its accept, over all jails.
pub const MAX_FLOWS: usize = 65536;
/// Most addresses of the machine that are known.
pub const MAX_LOCALS: usize = 1024;
