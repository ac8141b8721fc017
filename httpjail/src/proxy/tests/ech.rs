//! Encrypted Client Hello: who pretends is served, who means it is refused.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    client::{EchConfig, EchGreaseConfig, EchMode},
    crypto::{
        aws_lc_rs::{self, hpke},
        hpke::Hpke,
    },
};
use rustls_pki_types::{EchConfigListBytes, ServerName};

use super::{
    lab::{A_TEST, Lab, Setup},
    origin::{Origin, echo},
    wire::Client,
};

type TlsClient = Client<StreamOwned<ClientConnection, TcpStream>>;

const SUITE: &dyn Hpke = hpke::DH_KEM_X25519_HKDF_SHA256_AES_128;

fn client(lab: &Lab, origin: &Origin, name: &'static str, mode: EchMode, alpn: &str) -> TlsClient {
    let mut roots = RootCertStore::empty();
    roots.add(lab.authority.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_ech(mode)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let name = ServerName::try_from(name).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    Client::new(StreamOwned::new(connection, lab.connect((A_TEST, origin.port())).stream))
}

/// What a server at `public_name` would publish in the DNS, for others behind it.
fn published(public_name: &str) -> EchMode {
    let (key, _) = SUITE.generate_key_pair().unwrap();
    let contents = [
        &[7, 0, 0x20][..],
        &sized(2, &key.0),
        // HKDF-SHA256 and AES-128-GCM.
        &sized(2, &[0, 1, 0, 1]),
        &[0],
        &sized(1, public_name.as_bytes()),
        &sized(2, &[]),
    ]
    .concat();
    let list = sized(2, &[vec![0xfe, 0x0d], sized(2, &contents)].concat());
    EchConfig::new(EchConfigListBytes::from(list), &[SUITE]).unwrap().into()
}

fn sized(width: usize, bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len().to_be_bytes();
    [&length[length.len() - width..], bytes].concat()
}

#[test]
fn who_pretends_is_served() {
    let (origin, root) = Origin::tls(echo, "a.test");
    let lab = Lab::start(Setup { extra_ca: vec![root], ..Setup::default() });
    let (key, _) = SUITE.generate_key_pair().unwrap();
    let mode = EchMode::Grease(EchGreaseConfig::new(SUITE, key));
    let mut client = client(&lab, &origin, "a.test", mode, "http/1.1");
    assert_eq!(client.get("a.test", "/").status, 200);
    drop(client);
    assert_eq!(lab.records(), [format!("+ GET https://a.test:{}/", origin.port())]);
}

#[test]
fn who_means_it_is_refused_with_a_record_of_the_name_that_shows() {
    for alpn in ["http/1.1", "h2"] {
        let lab = Lab::start(Setup::default());
        let origin = Origin::plain(echo);
        let mut client = client(&lab, &origin, "hidden.test", published("public.test"), alpn);
        let error = client.stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap_err().to_string();
        assert!(error.contains("EncryptedClientHello"), "{error}");
        // The alert is on its way.
        let _ = client.stream.sock.read(&mut [0]);
        lab.await_records(1);
        drop(client);
        assert_eq!((lab.judged().len(), origin.connections()), (0, 0));
        assert_eq!(lab.records(), [format!("- TLS tls://public.test:{}", origin.port())], "{alpn}");
    }
}
