//! Where an accepted connection was meant to go, and who opened it.

use std::{
    io,
    net::{SocketAddr, TcpStream},
};

use crate::policy::Process;

/// What is known of an accepted connection: what the kernel side noted when the jailed program called
/// `connect()`, or that the program came to the proxy by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The address that the program asked for (v4-mapped addresses are given as IPv4).
    pub original: SocketAddr,
    /// Whether it meant the proxy by that.
    pub aim: Aim,
    /// Who asked.
    pub process: Option<Process>,
}

/// What a program meant by the address that it connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// What serves there; the kernel side turned the connection to the proxy.
    Elsewhere,
    /// The proxy itself, of which it was told: the address says nothing of where a request goes.
    Proxy,
}

/// Finds the flow of an accepted connection.
pub trait FlowTable: Send + Sync {
    /// Takes the flow of the client at `client`, whose connection `stream` is, out of the table, so
    /// that it is found once. `None`: the client isn't in this jail, and the connection must be
    /// reset (P2).
    ///
    /// # Errors
    ///
    /// When the table can't be read; the connection must be reset then, too.
    fn take(&self, stream: &TcpStream, client: SocketAddr) -> io::Result<Option<Flow>>;
}
