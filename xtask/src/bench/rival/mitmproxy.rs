//! mitmproxy as the Python index has it.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::{Rival, redirect};
use crate::bench::arena::Namespace;
use crate::bench::origin::{Authority, Origin};
use crate::bench::program::Server;
use crate::setup;

/// Starts mitmproxy in transparent mode with the bench's rule as a script, as its rules are
/// written; bodies of more than a megabyte are streamed, which they aren't unless asked for.
pub(super) fn start(folder: &Path, namespace: Namespace, origin: &Origin) -> Result<Rival> {
    let folder = folder.join("mitmproxy");
    fs::create_dir(&folder)?;
    let authority = Authority::make(&folder, "Bench mitmproxy CA")?;
    // It reads its authority's key and certificate from one file of this name.
    let both = [fs::read(&authority.key)?, fs::read(&authority.certificate)?].concat();
    fs::write(folder.join("mitmproxy-ca.pem"), both)?;
    let rule = folder.join("rule.py");
    fs::write(&rule, RULE)?;
    redirect(&namespace, "skgid", &PORTS.map(|port| (port, 3131)))?;

    let mut command = namespace.command("setpriv");
    command.args(["--regid=proxy", "--clear-groups"]).arg(setup::mitmdump());
    command.args(["--quiet", "--mode=transparent", "--listen-port=3131"]);
    let trusted = origin.authority.to_string_lossy();
    let opaque = format!("ignore_hosts=:{OPAQUE_PORT}$");
    for option in [
        format!("confdir={}", folder.to_string_lossy()),
        format!("ssl_verify_upstream_trusted_ca={trusted}"),
        "stream_large_bodies=1m".to_owned(),
        // The arena's addresses look like the Internet's, from where it takes no clients.
        "block_global=false".to_owned(),
        opaque,
    ] {
        command.args(["--set", &option]);
    }
    let server = Server::start(command.arg("--scripts").arg(&rule))?;
    Ok(Rival { namespace, authority: authority.certificate, _server: server })
}

/// What it is given, opaque connections included.
const PORTS: [u16; 4] = [80, 443, 8443, OPAQUE_PORT];
const OPAQUE_PORT: u16 = 8080;

const RULE: &str = r#"
from mitmproxy import http

NAMES = ("github.com", "bench.test")


def request(flow):
    host = flow.request.pretty_host
    if not any(host == name or host.endswith("." + name) for name in NAMES):
        flow.response = http.Response.make(403)
"#;
