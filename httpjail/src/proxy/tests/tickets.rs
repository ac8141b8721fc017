//! Sessions that clients of the jail go on with: on every worker, and never as another name.

use std::{net::SocketAddr, sync::Arc};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
    crypto::aws_lc_rs,
    version::{TLS12, TLS13},
};
use rustls_pki_types::ServerName;

use super::{
    lab::{A_TEST, Lab, Setup},
    wire::{Client, Reply},
};
use crate::policy::{Decision, Limits};

/// A client that keeps its sessions.
fn client(lab: &Lab, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(lab.authority.clone()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Connects to `address` as `name`, and asks for something of `host`.
fn ask(
    lab: &Lab,
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &'static str,
    host: &str,
) -> (HandshakeKind, Reply) {
    let name = ServerName::try_from(name).unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut client = Client::new(StreamOwned::new(connection, lab.connect(address).stream));
    let reply = client.get(host, "/");
    (client.stream.conn.handshake_kind().unwrap(), reply)
}

fn denying() -> Lab {
    Lab::start(Setup {
        rule: |facts| match facts.authority.host().to_string().as_str() {
            "b.test" => Decision::Allow(Limits::default()),
            host => super::lab::deny(host),
        },
        ..Setup::default()
    })
}

#[test]
fn every_worker_goes_on_with_a_session() {
    for version in [&TLS12, &TLS13] {
        let lab = denying();
        let config = Arc::new(client(&lab, version));
        let kinds: Vec<_> = (0..20)
            .map(|_| ask(&lab, &config, (A_TEST, 443).into(), "a.test", "a.test").0)
            .collect();
        assert_eq!(kinds[0], HandshakeKind::Full);
        assert!(kinds[1..].iter().all(|kind| *kind == HandshakeKind::Resumed), "{kinds:?}");
    }
}

/// Without a server name there is none to bind a session to; the request is judged by where its own
/// connection went, whatever the session was begun for.
#[test]
fn a_session_without_a_name_is_judged_by_its_own_connection() {
    for version in [&TLS12, &TLS13] {
        let lab = denying();
        let mut config = client(&lab, version);
        config.enable_sni = false;
        let config = Arc::new(config);
        let elsewhere: SocketAddr = ([45, 67, 89, 1], 443).into();
        let (kind, reply) = ask(&lab, &config, (A_TEST, 443).into(), "a.test", "a.test");
        assert_eq!((kind, reply.status), (HandshakeKind::Full, 403));
        for (host, status) in [("45.67.89.1", 403), ("a.test", 421), ("b.test", 421)] {
            let (kind, reply) = ask(&lab, &config, elsewhere, "a.test", host);
            assert_eq!((kind, reply.status), (HandshakeKind::Resumed, status), "{host}");
        }
        assert_eq!(lab.judged_urls(), ["https://a.test/", "https://45.67.89.1/"]);
    }
}
