//! Where an accepted connection was meant to go, and who opened it.

use std::{io, net::SocketAddr};

use crate::policy::Process;

/// What the kernel side noted when the jailed program called `connect()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The address that the program asked for (v4-mapped addresses are given as IPv4).
    pub original: SocketAddr,
    /// Who asked.
    pub process: Option<Process>,
}

/// Finds the flow of an accepted connection.
pub trait FlowTable: Send + Sync {
    /// Takes the flow of the client at `client` out of the table, so that it is found once.
    /// `None`: the client isn't in this jail, and the connection must be reset (P2).
    ///
    /// # Errors
    ///
    /// When the table can't be read; the connection must be reset then, too.
    fn take(&self, client: SocketAddr) -> io::Result<Option<Flow>>;
}
