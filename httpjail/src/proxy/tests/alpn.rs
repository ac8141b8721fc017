//! Which version of HTTP a client is offered: what its origin has said to speak.

use std::{io::Read, net::TcpStream, sync::Arc};

use http::Request;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName};

use super::{
    http2_origin::{Client2, Origin2, on_a_runtime},
    lab::{A_TEST, Lab, Setup, deny},
    origin::{Origin, echo},
    wire::{Client, Hello},
};

const BOTH: &[&str] = &["h2", "http/1.1"];

fn trusting(root: CertificateDer<'static>) -> Lab {
    Lab::start(Setup { extra_ca: vec![root], ..Setup::default() })
}

/// A client that speaks `alpn`.
fn config(lab: &Lab, alpn: &'static [&'static str]) -> Arc<ClientConfig> {
    Arc::new(Hello { alpn, ..Hello::to("a.test") }.config(&lab.authority))
}

type Tls = Client<StreamOwned<ClientConnection, TcpStream>>;

/// Connects, and tells what was chosen.
fn connect(lab: &Lab, port: u16, config: &Arc<ClientConfig>) -> (Tls, String) {
    let name = ServerName::try_from("a.test").unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let stream = lab.connect((A_TEST, port)).stream;
    let mut stream = StreamOwned::new(connection, stream);
    stream.conn.complete_io(&mut stream.sock).unwrap();
    let chosen = stream.conn.alpn_protocol().expect("one was chosen").to_vec();
    (Client::new(stream), String::from_utf8(chosen).unwrap())
}

fn ask_by_http2(lab: &Lab, port: u16) -> u16 {
    on_a_runtime(async {
        let mut client = Client2::tls(lab, port).await;
        client.ask(Request::get(format!("https://a.test:{port}/"))).await.unwrap().status
    })
}

#[test]
fn who_speaks_both_gets_http1_once_the_origin_has_chosen_it() {
    let (origin, root) = Origin::tls(echo, "a.test");
    let (lab, port) = (trusting(root), origin.port());
    assert_eq!(ask_by_http2(&lab, port), 200, "nothing was known");
    let both = config(&lab, BOTH);
    // Connections are spread over all workers.
    for _ in 0..20 {
        let (mut client, chosen) = connect(&lab, port, &both);
        assert_eq!(chosen, "http/1.1");
        assert_eq!(client.get("a.test", "/").status, 200);
    }
    let (_, chosen) = connect(&lab, port + 1, &both);
    assert_eq!(chosen, "h2", "nothing is known of another port");
    let (_, chosen) = connect(&lab, port, &config(&lab, &["h2"]));
    assert_eq!(chosen, "h2", "a client of HTTP/2 alone gets what it asks for");
}

#[test]
fn an_origin_that_has_chosen_http2_changes_nothing() {
    let (origin, root) = Origin2::tls(BOTH);
    let (lab, port) = (trusting(root), origin.port());
    for _ in 0..3 {
        assert_eq!(ask_by_http2(&lab, port), 200);
    }
}

#[test]
fn nobody_is_asked_for_the_sake_of_an_offer() {
    let (origin, root) = Origin::tls(echo, "a.test");
    let rule = |facts: &crate::policy::RequestFacts| deny(&facts.authority.host().to_string());
    let lab = Lab::start(Setup { extra_ca: vec![root], rule, ..Setup::default() });
    for _ in 0..3 {
        assert_eq!(ask_by_http2(&lab, origin.port()), 403);
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_session_goes_on_with_another_choice() {
    let (origin, root) = Origin::tls(echo, "a.test");
    let (lab, port) = (trusting(root), origin.port());
    let both = config(&lab, BOTH);
    let (mut first, chosen) = connect(&lab, port, &both);
    assert_eq!(chosen, "h2");
    // The ticket comes before the settings.
    assert!(first.stream.read(&mut [0; 64]).unwrap() > 0);
    assert_eq!(ask_by_http2(&lab, port), 200);
    let (mut second, chosen) = connect(&lab, port, &both);
    assert_eq!(chosen, "http/1.1");
    assert_eq!(second.get("a.test", "/").status, 200);
    assert_eq!(second.stream.conn.handshake_kind(), Some(HandshakeKind::Resumed));
}
