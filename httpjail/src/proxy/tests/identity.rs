//! Origins that want to know who asks: shown a certificate, if one was given for them.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
    crypto::aws_lc_rs,
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{
    lab::{A_TEST, Lab, Setup},
    wire::Hello,
};
use crate::upstream::{ClientIdentity, Options};

/// An authority of origins and of those who ask them.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    fn issue(&self, names: &[&str]) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        (vec![leaf.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    /// What shows `name` to `hosts`.
    fn identity(&self, hosts: &str, name: &str) -> ClientIdentity {
        let (chain, key) = self.issue(&[name]);
        ClientIdentity::new(hosts.parse().unwrap(), chain, &key).unwrap()
    }
}

/// Whether a request comes with a certificate, and how its connection began.
type Seen = (Option<CertificateDer<'static>>, HandshakeKind);

/// An origin that answers one request on each connection.
struct Asking {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// What an origin makes of those who show nothing.
#[derive(Clone, Copy)]
enum Strangers {
    Refused,
    Served,
}

impl Asking {
    fn start(
        authority: &Authority,
        strangers: Strangers,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(authority.root()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = match strangers {
            Strangers::Refused => verifier,
            Strangers::Served => verifier.allow_unauthenticated(),
        };
        let (chain, key) = authority.issue(&["a.test", "b.test"]);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::default());
        let (config, noted) = (Arc::new(config), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, noted) = (Arc::clone(&config), Arc::clone(&noted));
                thread::spawn(move || drop(converse(stream, config, &noted)));
            }
        });
        Self { port, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn converse(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    seen: &Mutex<Vec<Seen>>,
) -> std::io::Result<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1..) => head.push(byte[0]),
            Ok(0) | Err(_) => break,
        }
    }
    if head.is_empty() {
        // Closed with something unread, the connection would be reset, and the alert lost.
        stream.sock.shutdown(std::net::Shutdown::Write)?;
        std::io::copy(&mut stream.sock, &mut std::io::sink())?;
        return Ok(());
    }
    let shown = stream.conn.peer_certificates().and_then(|chain| chain.first().cloned());
    seen.lock().unwrap().push((shown, stream.conn.handshake_kind().unwrap()));
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn lab(authority: &Authority, identities: Vec<ClientIdentity>) -> Lab {
    let options = Options { identities, ..Options::default() };
    Lab::start(Setup { extra_ca: vec![authority.root()], options, ..Setup::default() })
}

/// What `name` at `origin` answers to so many requests: the status, and the body of the last.
fn ask(lab: &Lab, origin: &Asking, name: &'static str, times: usize) -> (Vec<u16>, String) {
    let mut client = lab.connect((A_TEST, origin.port)).tls(&lab.authority, Hello::to(name));
    let host = format!("{name}:{}", origin.port);
    let replies: Vec<_> = (0..times).map(|_| client.get(&host, "/")).collect();
    (replies.iter().map(|reply| reply.status).collect(), replies.last().unwrap().body.clone())
}

#[test]
fn an_origin_that_demands_a_certificate_is_shown_it() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new();
        let origin = Asking::start(&authority, Strangers::Refused, version);
        let me = authority.identity("a.test", "me");
        assert_eq!(ask(&lab(&authority, vec![me]), &origin, "a.test", 1).0, [200]);
        assert!(origin.seen()[0].0.is_some());
    }
}

#[test]
fn without_a_certificate_the_cause_is_told() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new();
        let origin = Asking::start(&authority, Strangers::Refused, version);
        let (statuses, body) = ask(&lab(&authority, Vec::new()), &origin, "a.test", 1);
        assert_eq!(statuses, [502]);
        assert_eq!(
            body,
            "httpjail failed to establish TLS with a.test: it wants a client certificate \
             (--client-cert)\n"
        );
        assert_eq!(origin.seen(), []);
    }
}

#[test]
fn a_certificate_of_strangers_is_refused_and_told() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new();
        let origin = Asking::start(&authority, Strangers::Refused, version);
        let stranger = Authority::new().identity("a.test", "me");
        let (statuses, body) = ask(&lab(&authority, vec![stranger]), &origin, "a.test", 1);
        assert_eq!(statuses, [502]);
        assert!(body.contains("alert"), "{body}");
        assert_eq!(origin.seen(), []);
    }
}

#[test]
fn a_certificate_is_shown_to_its_hosts_alone() {
    let authority = Authority::new();
    let origin = Asking::start(&authority, Strangers::Served, &TLS13);
    let shown = |hosts: &[&str], to: &'static str| {
        let named = hosts.iter().map(|hosts| authority.identity(hosts, hosts.trim_matches('*')));
        let lab = lab(&authority, named.collect());
        assert_eq!(ask(&lab, &origin, to, 1).0, [200]);
        let certificate = origin.seen().pop().unwrap().0?;
        let name = hosts.iter().find(|hosts| {
            let name = hosts.trim_matches('*').as_bytes();
            certificate.windows(name.len()).any(|window| window == name)
        });
        Some((*name.unwrap()).to_owned())
    };
    assert_eq!(shown(&["a.test"], "a.test").as_deref(), Some("a.test"));
    assert_eq!(shown(&["a.test"], "b.test"), None);
    assert_eq!(shown(&["*.a.test"], "a.test"), None);
}

#[test]
fn a_session_is_gone_on_with_as_who_began_it() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new();
        let origin = Asking::start(&authority, Strangers::Served, version);
        let lab = lab(&authority, vec![authority.identity("a.test", "me")]);
        for name in ["a.test", "b.test"] {
            assert_eq!(ask(&lab, &origin, name, 3).0, [200; 3]);
        }
        let seen = origin.seen();
        let kinds: Vec<_> = seen.iter().map(|(_, kind)| *kind).collect();
        let (full, resumed) = (HandshakeKind::Full, HandshakeKind::Resumed);
        assert_eq!(kinds, [full, resumed, resumed, full, resumed, resumed]);
        let shown: Vec<_> = seen.iter().map(|(shown, _)| shown.is_some()).collect();
        assert_eq!(shown, [true, true, true, false, false, false]);
    }
}
