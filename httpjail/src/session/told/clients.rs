//! Who may use a proxy that programs are told of.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::fd::RawFd,
};

use crate::{
    backend::linux::owners::Owners,
    proxy::{Aim, Flow, FlowTable},
};

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
    /// Programs of `uid`. Those of a command that is root may become anybody, as package managers do:
    /// they can't be told from others.
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

    /// The descriptors that it needs.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        match self {
            Self::All => Vec::new(),
            Self::Of { owners, .. } => owners.descriptors(),
        }
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

/// Programs of the user's that became root by sudo; who is root needs no proxy of others.
const ROOT: u32 = 0;

impl FlowTable for Clients {
    fn take(&self, stream: &TcpStream, client: SocketAddr) -> io::Result<Option<Flow>> {
        let own = stream.local_addr()?;
        let original = SocketAddr::new(own.ip().to_canonical(), own.port());
        let flow = Flow { original, aim: Aim::Proxy, process: None };
        Ok(self.admits(client, own)?.then_some(flow))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn programs_of_other_users_are_not_served() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, address) = listener.accept().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let of = |uid| Clients::Of { uid, owners: Owners::open().unwrap() };
        for (clients, is_served) in
            [(Clients::All, true), (of(own), true), (of(own + 1), own == ROOT)]
        {
            let flow = clients.take(&accepted, address).unwrap();
            assert_eq!(flow.is_some(), is_served, "{clients:?}");
            assert!(flow.is_none_or(|flow| flow.aim == Aim::Proxy));
        }
        drop(client);
    }
}
