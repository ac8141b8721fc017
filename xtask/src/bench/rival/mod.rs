//! The rivals: proxies that intercept, each in a network namespace of its own.

mod mitmproxy;
mod squid;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::arena::Namespace;
use super::contestant::Contestant;
use super::origin::Origin;
use super::program::Server;
use crate::tools;

/// A running rival and the namespace from which all web traffic goes through it.
pub(super) struct Rival {
    /// Where its clients run.
    pub(super) namespace: Namespace,
    /// The certificate of the authority that its clients must trust.
    pub(super) authority: PathBuf,
    _server: Server,
}

impl Rival {
    /// Starts the rival of this name.
    ///
    /// # Errors
    /// When it isn't one, or doesn't start.
    pub(super) fn start(contestant: Contestant, folder: &Path, origin: &Origin) -> Result<Self> {
        let (start, cable): (Start, u8) = match contestant {
            Contestant::Squid => (squid::start, 1),
            Contestant::Mitmproxy => (mitmproxy::start, 2),
            Contestant::NoJail | Contestant::Httpjail => bail!("{contestant} is no rival"),
        };
        let namespace = Namespace::new()?;
        origin.namespace.lay_cable(cable, || namespace.command("ip"))?;
        start(folder, namespace, origin)
    }
}

type Start = fn(&Path, Namespace, &Origin) -> Result<Rival>;

/// Sends what everybody but the rival, whom `key` tells by the id of `proxy`, sends to some ports
/// to ports of the rival.
fn redirect(namespace: &Namespace, key: &str, ports: &[(u16, u16)]) -> Result<()> {
    let mut rules = String::new();
    for (from, to) in ports {
        rules += &format!("meta {key} != proxy tcp dport {from} redirect to :{to}\n");
    }
    let table =
        format!("table ip bench {{ chain out {{ type nat hook output priority -100\n{rules}}}\n}}");
    let nft = tools::find("nft").context("nft is missing")?;
    tools::run(namespace.command(nft).arg(table).stdin(Stdio::null()))
        .context("failed to redirect the rival's traffic")
}
