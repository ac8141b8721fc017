//! Where the jail's connections were meant to go, as pf knows.

use std::{
    io,
    net::{SocketAddr, TcpStream},
};

use httpjail_macos::natlook::Pf;

use crate::proxy::{Aim, Flow, FlowTable};

/// Asks pf about accepted connections.
pub(super) struct PfFlows(pub(super) Pf);

impl FlowTable for PfFlows {
    /// pf keeps its state for as long as the connection lives, so the flow isn't taken out. It tells
    /// nothing of the process. A connection that pf didn't turn is no jail's (P13); one that another
    /// jail's rules turned went to that jail's port.
    fn take(&self, stream: &TcpStream, client: SocketAddr) -> io::Result<Option<Flow>> {
        let original = self.0.original(client, stream.local_addr()?)?;
        Ok(original.map(|original| Flow { original, aim: Aim::Elsewhere, process: None }))
    }
}
