//! An HTTPS request whose ClientHello is cut, padded or nameless.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use httpjail_tests::act::{Refusal, Step};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::arguments::{Arguments, PATIENCE};

/// `hello ADDRESS:PORT`, trusting the bundle of SSL_CERT_FILE. Options: `name` (of the server),
/// `sni` (`no` leaves it out), `host` (of the request), `split` (pieces of the hello; `bytes` for
/// one each), `pad` (bytes of ALPN).
pub(crate) fn request(arguments: &Arguments) -> Result<Value, Refusal> {
    let address = arguments.address();
    let name = arguments.option("name").map_or_else(|| address.ip().to_string(), str::to_owned);
    let server = ServerName::try_from(name.clone()).expect("a host name");
    let config = config(arguments).step("trust")?;
    let socket = TcpStream::connect_timeout(&address, PATIENCE).step("connect")?;
    socket.set_nodelay(true).step("setsockopt")?;
    socket.set_read_timeout(Some(PATIENCE)).step("setsockopt")?;
    let pieces = arguments.option("split").map_or(Pieces::Whole, Pieces::parse);
    let socket = FirstFlight { socket, pieces };
    let connection = ClientConnection::new(config, server).map_err(io::Error::other).step("tls")?;
    let mut stream = StreamOwned::new(connection, socket);
    let host = arguments.option("host").unwrap_or(&name);
    let request = format!("GET /hello HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).step("handshake")?;
    let mut reply = Vec::new();
    match stream.read_to_end(&mut reply) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error).step("read")?,
        Ok(_) | Err(_) => {}
    }
    let reply = String::from_utf8_lossy(&reply).into_owned();
    let status = reply.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    Ok(json!({ "status": status, "reply": reply }))
}

fn config(arguments: &Arguments) -> io::Result<Arc<ClientConfig>> {
    let bundle = std::env::var_os("SSL_CERT_FILE").unwrap_or_default();
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(bundle).map_err(io::Error::other)?;
    roots.add_parsable_certificates(certificates.flatten());
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.enable_sni = arguments.option("sni") != Some("no");
    config.alpn_protocols = protocols(arguments.number("pad").unwrap_or(0));
    Ok(Arc::new(config))
}

/// At least `pad` bytes of ALPN, of which only the last means something.
fn protocols(pad: usize) -> Vec<Vec<u8>> {
    const LONGEST: usize = 255;
    let filler = (0..pad.div_ceil(LONGEST + 1)).map(|number| {
        let mut name = format!("{number:04}").into_bytes();
        name.resize(LONGEST, b'.');
        name
    });
    filler.chain([b"http/1.1".to_vec()]).collect()
}

/// How the first flight is cut.
#[derive(Clone, Copy, Debug)]
enum Pieces {
    Whole,
    Count(usize),
    Bytes,
}

impl Pieces {
    fn parse(value: &str) -> Self {
        match value {
            "bytes" => Self::Bytes,
            count => Self::Count(count.parse().expect("a number of pieces")),
        }
    }

    fn length(self, whole: usize) -> usize {
        match self {
            Self::Whole => whole,
            Self::Count(count) => whole.div_ceil(count),
            Self::Bytes => 1,
        }
        .max(1)
    }
}

/// A socket that sends its first flight in pieces, each a segment of its own.
#[derive(Debug)]
struct FirstFlight {
    socket: TcpStream,
    pieces: Pieces,
}

impl Read for FirstFlight {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pieces = Pieces::Whole; // The server has spoken: the first flight is over.
        self.socket.read(buffer)
    }
}

impl Write for FirstFlight {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.chunks(self.pieces.length(bytes.len())) {
            self.socket.write_all(piece)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
