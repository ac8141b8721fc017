//! squid as Debian ships it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Rival, redirect};
use crate::bench::arena::{self, Namespace};
use crate::bench::origin::{Authority, Origin};
use crate::bench::program::Server;
use crate::tools;

/// Starts squid with generated certificates and the bench's rule as an access list, and without a
/// cache or logs.
pub(super) fn start(folder: &Path, namespace: Namespace, origin: &Origin) -> Result<Rival> {
    let hosts = arena::hosts_file(folder);
    let folder = folder.join("squid");
    fs::create_dir(&folder)?;
    let authority = Authority::make(&folder, "Bench squid CA")?;
    let configuration = folder.join("squid.conf");
    fs::write(
        &configuration,
        CONFIGURATION
            .replace("@FOLDER@", &folder.to_string_lossy())
            .replace("@HOSTS@", &hosts.to_string_lossy())
            .replace("@ORIGIN_CA@", &origin.authority.to_string_lossy()),
    )?;
    let database = folder.join("certificates");
    tools::output(Command::new(CERTGEN).arg("-c").arg("-s").arg(database).args(["-M", "16MB"]))?;
    tools::run(Command::new("chown").args(["--recursive", "proxy:proxy"]).arg(&folder))?;
    redirect(&namespace, "skuid", &[(80, 3129), (443, 3130)])?;

    let squid = tools::find("squid").context("squid is missing")?;
    let mut squid = namespace.command(squid);
    let server = Server::start(squid.args(["-N", "-d", "0", "-f"]).arg(&configuration))?;
    Ok(Rival { namespace, authority: authority.certificate, _server: server })
}

const CERTGEN: &str = "/usr/lib/squid/security_file_certgen";

const CONFIGURATION: &str = r#"
http_port 127.0.0.1:3128
http_port 127.0.0.1:3129 intercept
https_port 127.0.0.1:3130 intercept ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=16MB tls-cert=@FOLDER@/ca.pem tls-key=@FOLDER@/ca.key
sslcrtd_program /usr/lib/squid/security_file_certgen -s @FOLDER@/certificates -M 16MB
sslcrtd_children 2 startup=2
tls_outgoing_options cafile=@ORIGIN_CA@
acl first_step at_step SslBump1
ssl_bump peek first_step
ssl_bump bump all
acl allowed dstdomain .github.com .bench.test
http_access allow allowed
acl CONNECT method CONNECT
http_access allow CONNECT
http_access deny all
hosts_file @HOSTS@
dns_nameservers 127.0.0.1
cache deny all
cache_mem 8 MB
access_log none
cache_log @FOLDER@/cache.log
cache_store_log none
pid_filename none
coredump_dir @FOLDER@
netdb_filename none
visible_hostname bench
cache_effective_user proxy
shutdown_lifetime 0 seconds
"#;
