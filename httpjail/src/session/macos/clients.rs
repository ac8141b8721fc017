//! Who may use a proxy that programs are told of.

use std::{
    io,
    net::{SocketAddr, TcpStream},
};

use crate::{
    backend::macos::owners::Owners,
    proxy::{Aim, Flow, FlowTable},
};

/// Programs of the user's that became root by sudo; who is root needs no proxy of others.
const ROOT: u32 = 0;

/// Who may use the proxy.
#[derive(Debug)]
pub(super) enum Clients {
    /// Whoever reaches it.
    All,
    /// Programs of one user and of root on this machine.
    Of {
        /// The user.
        uid: u32,
        /// Tells whose a connection is.
        owners: Owners,
    },
}

impl Clients {
    /// Programs of `uid`. Those of a command that is root may become anybody: they can't be told from
    /// others.
    ///
    /// # Errors
    ///
    /// When the system doesn't tell whose connections are.
    pub(super) fn of(uid: u32) -> io::Result<Self> {
        if uid == ROOT {
            return Ok(Self::All);
        }
        Ok(Self::Of { uid, owners: Owners::open()? })
    }

    fn admits(&self, client: SocketAddr, own: SocketAddr) -> io::Result<bool> {
        match self {
            Self::All => Ok(true),
            Self::Of { uid, owners } => {
                let owner = owners.of(client, own)?;
                Ok(owner.is_some_and(|owner| owner == *uid || owner == ROOT))
            }
        }
    }
}

impl FlowTable for Clients {
    fn take(&self, stream: &TcpStream, client: SocketAddr) -> io::Result<Option<Flow>> {
        let own = stream.local_addr()?;
        let original = SocketAddr::new(own.ip().to_canonical(), own.port());
        let flow = Flow { original, aim: Aim::Proxy, process: None };
        Ok(self.admits(client, own)?.then_some(flow))
    }
}
