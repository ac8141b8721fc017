//! What the jail's init tries before the command runs, and how the proxy answers.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use crate::{
    backend::linux::{
        Endpoints,
        spawn::{self, WORD},
    },
    proxy,
};

/// Addresses of documentation (RFC 5737, RFC 3849), which no machine has.
const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The port doesn't matter to the programs.
const OUTSIDE_PORT: u16 = 443;
/// The discard service (RFC 863), on this machine: neither a name server nor the jail's own.
const DISCARD_PORT: u16 = 9;

/// The two sides of the canary, which share a word that nobody else knows.
///
/// # Errors
///
/// When the kernel has no randomness to give.
pub(super) fn pair(
    endpoints: &Endpoints,
    cgroups: [&Path; 2],
) -> io::Result<(proxy::Canary, spawn::Canary)> {
    let mut word = [0; WORD];
    rustix::rand::getrandom(&mut word, rustix::rand::GetRandomFlags::empty())?;
    let mut connections = vec![SocketAddr::from((OUTSIDE_V4, OUTSIDE_PORT))];
    let mut datagrams = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DISCARD_PORT))];
    if endpoints.proxy_v6.is_some() {
        connections.push(SocketAddr::from((OUTSIDE_V6, OUTSIDE_PORT)));
        datagrams.push(SocketAddr::from((Ipv6Addr::LOCALHOST, DISCARD_PORT)));
    }
    let files = cgroups.map(|cgroup| cgroup.join("cgroup.procs")).to_vec();
    let answers = proxy::Canary::new(&connections, &word);
    Ok((answers, spawn::Canary { connections, word, datagrams, files }))
}
