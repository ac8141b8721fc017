//! OpenSSL's own server and certificates, for what the lab's web servers don't do.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::addresses::WIRE_V4;
use crate::{Lab, programs};

/// Makes an authority in the lab's home (`ca.pem`), and what it has signed for `name`: `server.pem`
/// and `client.pem`, with their keys in `server.key` and `client.key`.
///
/// # Panics
/// When openssl fails.
pub fn furnish_certificates(lab: &Lab, name: &str) {
    let script = format!(
        "set -e
        echo subjectAltName=DNS:{name} > extensions
        new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        openssl req -x509 $new -subj /CN=lab -keyout ca.key -out ca.pem
        for who in server client; do
            openssl req $new -subj /CN=$who -keyout $who.key -out $who.csr
            openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial \\
                -extfile extensions -out $who.pem
        done"
    );
    lab.outside().sh(&script).exits(0);
}

/// An `openssl s_server` at the origins' end of the wire, with the certificate of
/// [`furnish_certificates`]; dropped, it ends.
#[derive(Debug)]
pub struct Server(Child);

impl Server {
    /// Starts one that listens at `port`.
    ///
    /// # Panics
    /// When it can't listen.
    #[must_use]
    pub fn start(lab: &Lab, port: u16, options: &[&str]) -> Self {
        let home = lab.home();
        let accept = format!("{WIRE_V4}:{port}");
        let fixed =
            ["s_server", "-www", "-accept", &accept, "-cert", "server.pem", "-key", "server.key"];
        let words = fixed.iter().chain(options).map(|word| (*word).to_owned());
        let words: Vec<String> = words.collect();
        let openssl = programs::require("openssl");
        let child = lab.at_origins(move || {
            let mut command = Command::new(openssl);
            command.args(words).current_dir(home);
            let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
            child.expect("openssl can be run")
        });
        let mut server = Self(child);
        let out = BufReader::new(server.0.stdout.take().expect("it was asked for"));
        let listens = out.lines().map_while(Result::ok).any(|line| line.starts_with("ACCEPT"));
        assert!(listens, "openssl s_server listens");
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
