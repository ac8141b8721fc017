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

/// The discard service (RFC 863), on this machine: neither a name server nor the jail's own. The
/// programs turn connections to loopback addresses like any others, and what they failed to turn
/// or refuse would not leave the machine.
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
    let mut targets = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DISCARD_PORT))];
    if endpoints.proxy_v6.is_some() {
        targets.push(SocketAddr::from((Ipv6Addr::LOCALHOST, DISCARD_PORT)));
    }
    let files = cgroups.map(|cgroup| cgroup.join("cgroup.procs")).to_vec();
    let answers = proxy::Canary::new(&targets, &word);
    let canary = spawn::Canary {
        connections: targets.clone(),
        word,
        packets: targets.iter().map(SocketAddr::ip).collect(),
        datagrams: targets,
        files,
        ..spawn::Canary::default()
    };
    Ok((answers, canary))
}
