//! Names that both sides use. The kernel keeps 15 bytes of a name.

/// Map: jail id → [`crate::jail::JailEntry`].
pub const JAILS: &str = "JAILS";
/// Map: [`crate::flow::FlowKey`] → [`crate::flow::FlowEntry`].
pub const FLOWS: &str = "FLOWS";
/// Socket storage of the proxy's and the stub's sockets: the id of the jail that they serve.
pub const SERVERS: &str = "SERVERS";
/// Map: jail id → [`crate::jail::Counters`].
pub const COUNTERS: &str = "COUNTERS";
/// Map: [`crate::event::RefusalKey`] → [`crate::event::RefusalNote`].
pub const REFUSALS: &str = "REFUSALS";
/// Map: [`crate::jail::LocalKey`] → one byte.
pub const LOCALS: &str = "LOCALS";

/// Map: [`crate::jail::DeviceKey`] → one byte.
pub const DEVICES: &str = "DEVICES";

/// Most jails at once on one machine.
pub const MAX_JAILS: usize = 4096;
/// Most connections at once between a `connect()` and its accept, over all jails.
pub const MAX_FLOWS: usize = 65536;
/// Most connections to its proxy that one jail may have at once, accepted or not: twice what a
/// proxy serves, and few enough that one jail can't fill the table for all.
pub const MAX_CONNECTIONS: u64 = 8192;
/// Most refusals that are told apart, over all jails.
pub const MAX_REFUSALS: usize = 16384;
/// Most that are told apart of one jail; of further ones only the reason is counted. A flood of one
/// jail can't fill the map for all.
pub const MAX_TOLD: u64 = 128;
/// Most devices that are open to jails besides the plain ones.
pub const MAX_DEVICES: usize = 1024;
/// Most addresses of the machine that are known.
pub const MAX_LOCALS: usize = 1024;
