//! Where the jail's connections were meant to go, as pf knows.

use std::{io, net::SocketAddr};

use httpjail_macos::natlook::Pf;

use crate::proxy::{Flow, FlowTable};

/// Asks pf about connections to these listeners.
pub(super) struct PfFlows {
    pub(super) pf: Pf,
    pub(super) listeners: Vec<SocketAddr>,
}

impl FlowTable for PfFlows {
    /// pf keeps its state for as long as the connection lives, so the flow isn't taken out. It tells
    /// nothing of the process. A connection that pf didn't turn is no jail's (P13); one that another
    /// jail's rules turned went to that jail's port.
    fn take(&self, client: SocketAddr) -> io::Result<Option<Flow>> {
        let same_family = |own: &&SocketAddr| own.is_ipv4() == client.is_ipv4();
        let Some(own) = self.listeners.iter().find(same_family) else { return Ok(None) };
        let original = self.pf.original(client, *own)?;
        Ok(original.map(|original| Flow { original, process: None }))
    }
}
