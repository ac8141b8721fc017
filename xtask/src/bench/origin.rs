//! The origin that everybody asks: nginx with TLS in a network namespace.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::arena::{NAMES, Namespace};
use super::program::Server;
use crate::tools;

/// A running origin and what its clients must know.
pub(super) struct Origin {
    /// Where it lives.
    pub(super) namespace: Namespace,
    /// The certificate of the authority that vouches for it.
    pub(super) authority: PathBuf,
    _nginx: Server,
}

/// The size of the file that is downloaded and uploaded, `1g`.
pub(super) const LARGE_BYTES: usize = 1 << 30;
/// The size of the file that an hour's load downloads slowly, `256m`.
const SLOW_BYTES: usize = 256 << 20;

impl Origin {
    /// Starts nginx on ports 80, 8080, 443 and, with HTTP/2, 8443, with the files `1k`, `256m` and `1g`, a
    /// place to put more, and `upload`, which takes what it is sent.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let folder = folder.join("origin");
        fs::create_dir(&folder)?;
        write_files(&folder).context("failed to write the origin's files")?;
        let authority = Authority::make(&folder, "Bench origin CA")?;
        authority.sign_leaf(&folder)?;
        let configuration = folder.join("nginx.conf");
        fs::write(&configuration, CONFIGURATION.replace("@FOLDER@", &folder.to_string_lossy()))?;

        let namespace = Namespace::new()?;
        tools::run(namespace.command("ip").args([
            "address",
            "add",
            &format!("{}/32", super::arena::ORIGIN),
            "dev",
            "lo",
        ]))?;
        let nginx = tools::find("nginx").context("nginx is missing")?;
        let nginx = Server::start(namespace.command(nginx).arg("-c").arg(&configuration))?;
        Ok(Self { namespace, authority: authority.certificate, _nginx: nginx })
    }
}

fn write_files(folder: &Path) -> Result<()> {
    fs::create_dir(folder.join("uploads"))?;
    fs::write(folder.join("1k"), [b'x'; 1024])?;
    let block: Vec<u8> =
        (0..1_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for (name, bytes) in [("256m", SLOW_BYTES), ("1g", LARGE_BYTES)] {
        let mut file = fs::File::create(folder.join(name))?;
        for _ in 0..bytes / block.len() {
            file.write_all(&block)?;
        }
    }
    Ok(())
}

/// A certificate authority made for one run.
pub(super) struct Authority {
    /// Its certificate, PEM.
    pub(super) certificate: PathBuf,
    /// Its key, PEM.
    pub(super) key: PathBuf,
}

impl Authority {
    /// Makes an authority with the files `ca.pem` and `ca.key` in `folder`.
    pub(super) fn make(folder: &Path, name: &str) -> Result<Self> {
        let authority = Self { certificate: folder.join("ca.pem"), key: folder.join("ca.key") };
        let mut openssl = openssl_request(&authority.key);
        openssl.arg("-out").arg(&authority.certificate);
        openssl.args(["-x509", "-days", "7", "-subj", &format!("/CN={name}")]);
        openssl.args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"]);
        tools::output(&mut openssl)?;
        Ok(authority)
    }

    /// Makes `leaf.pem` and `leaf.key` for the origin's names in `folder`.
    fn sign_leaf(&self, folder: &Path) -> Result<()> {
        let names = NAMES.map(|name| format!("DNS:{name}")).join(",");
        let mut openssl = openssl_request(&folder.join("leaf.key"));
        openssl.arg("-out").arg(folder.join("leaf.pem"));
        openssl.args(["-x509", "-days", "7", "-subj", "/CN=origin"]);
        openssl.arg("-CA").arg(&self.certificate).arg("-CAkey").arg(&self.key);
        openssl.args(["-addext", &format!("subjectAltName={names}")]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        openssl.args(["-addext", "extendedKeyUsage=serverAuth"]);
        tools::output(&mut openssl)?;
        Ok(())
    }
}

fn openssl_request(key: &Path) -> Command {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args(["-noenc", "-keyout"]).arg(key);
    openssl
}

const CONFIGURATION: &str = r#"
daemon off;
user root;
worker_processes 2;
pid @FOLDER@/nginx.pid;
error_log @FOLDER@/error.log;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path @FOLDER@/uploads;
    proxy_temp_path @FOLDER@/proxy;
    fastcgi_temp_path @FOLDER@/fastcgi;
    uwsgi_temp_path @FOLDER@/uwsgi;
    scgi_temp_path @FOLDER@/scgi;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    keepalive_requests 100000000;
    keepalive_timeout 300s;
    ssl_certificate @FOLDER@/leaf.pem;
    ssl_certificate_key @FOLDER@/leaf.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:bench:10m;
    server {
        listen 80 backlog=4096 reuseport;
        listen 443 ssl backlog=4096 reuseport;
        listen 8080 backlog=4096 reuseport;
        listen 8443 ssl http2 backlog=4096 reuseport;
        http2_max_concurrent_streams 1024;
        root @FOLDER@;
        client_max_body_size 0;
        location = /upload { return 204; }
        location /upload/ {
            root @FOLDER@/uploads;
            dav_methods PUT;
            create_full_put_path on;
        }
    }
}
"#;
