//! The flow map, as the proxy role uses it: one jail's connections, each taken once.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use httpjail_common::flow::{COMM_LEN, FlowEntry, FlowKey};

use super::bpf::{maps::JailId, sys};

/// One jail's view of the flow map. It works without privileges: the kernel asks for the
/// descriptor only (Linux 5.19).
#[derive(Debug)]
pub(crate) struct Flows {
    map: OwnedFd,
    jail: JailId,
    netns: u64,
}

/// What the kernel noted about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Where the program wanted to go.
    pub(crate) original: SocketAddr,
    /// Its process id.
    pub(crate) pid: u32,
    /// Its user id.
    pub(crate) uid: u32,
    /// Its thread's name.
    pub(crate) comm: String,
}

impl Flows {
    pub(super) fn new(map: OwnedFd, jail: JailId, netns: u64) -> Self {
        Self { map, jail, netns }
    }

    /// Takes the note on the connection from `client`. `None`: the jail made no such connection.
    ///
    /// # Errors
    ///
    /// When the map can't be read.
    pub(crate) fn take(&self, client: SocketAddr) -> io::Result<Option<Noted>> {
        let key = FlowKey::new(self.jail.0, self.netns, client.ip().into(), client.port().into());
        Ok(sys::take::<FlowKey, FlowEntry>(self.map.as_fd(), &key)?.map(Noted::from))
    }
}

impl AsFd for Flows {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl From<FlowEntry> for Noted {
    fn from(entry: FlowEntry) -> Self {
        let port = u16::try_from(entry.target.port).unwrap_or(0);
        Self {
            original: SocketAddr::new(IpAddr::from(entry.target.addr), port),
            pid: entry.caller.pid,
            uid: entry.caller.uid,
            comm: name(&entry.caller.comm),
        }
    }
}

/// A thread's name without what fills it up.
pub(crate) fn name(comm: &[u8; COMM_LEN]) -> String {
    let end = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
    String::from_utf8_lossy(comm.get(..end).unwrap_or_default()).into_owned()
}
