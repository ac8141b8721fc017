//! A client that writes bytes as the test has them, and reads what comes back.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName};

/// A client on one connection.
pub(super) struct Client<S = TcpStream> {
    pub(super) stream: S,
    unread: Vec<u8>,
}

/// One response.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Status line and headers, as they came.
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, v)| v).collect()
    }
}

impl<S: Read + Write> Client<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Speaks TLS from here on, and trusts `root`.
    pub(super) fn tls(
        self,
        root: &CertificateDer<'static>,
        hello: Hello,
    ) -> Client<StreamOwned<ClientConnection, S>> {
        Client::new(StreamOwned::new(hello.connection(root), self.stream))
    }

    /// Asks for a tunnel to `target`, and gives the head of the answer.
    pub(super) fn open_tunnel(&mut self, target: &str) -> String {
        self.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
        self.until(b"\r\n\r\n")
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self.stream.flush().unwrap();
        self
    }

    /// Sends `request` and reads the answer to it.
    pub(super) fn ask(&mut self, request: &str) -> Reply {
        self.send(request).reply(request.starts_with("HEAD "))
    }

    /// `GET path` from `host`.
    pub(super) fn get(&mut self, host: &str, path: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    }

    /// Reads one response.
    pub(super) fn reply(&mut self, to_head: bool) -> Reply {
        let head = self.until(b"\r\n\r\n");
        let mut reply = Reply {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body: String::new(),
        };
        let bodiless = to_head || matches!(reply.status, 100..200 | 204 | 304);
        if bodiless {
            return reply;
        }
        if let [length] = reply.header("content-length")[..] {
            let length = length.parse().unwrap();
            reply.body = self.exactly(length);
        } else if reply.header("transfer-encoding") == ["chunked"] {
            reply.body = self.until(b"0\r\n\r\n");
        } else {
            reply.body = self.rest().unwrap();
        }
        reply
    }

    /// All that comes until the other side closes, which it must.
    pub(super) fn rest(&mut self) -> io::Result<String> {
        let end = self.stream.read_to_end(&mut self.unread);
        let timed_out = end.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        assert!(!timed_out, "the connection stays open after {:?}", self.unread.escape_ascii());
        end?;
        Ok(String::from_utf8(std::mem::take(&mut self.unread)).unwrap())
    }

    pub(super) fn until(&mut self, end: &[u8]) -> String {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|w| w == end) {
                return self.exactly(at + end.len());
            }
            self.more();
        }
    }

    /// What was read beyond what was asked for.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    fn exactly(&mut self, length: usize) -> String {
        while self.unread.len() < length {
            self.more();
        }
        let rest = self.unread.split_off(length);
        String::from_utf8(std::mem::replace(&mut self.unread, rest)).unwrap()
    }

    fn more(&mut self) {
        let mut buffer = [0; 65536];
        let read = self.stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the connection ended after {:?}", self.unread.escape_ascii());
        self.unread.extend_from_slice(&buffer[..read]);
    }
}

impl Client<TcpStream> {
    /// Ends our side only.
    pub(super) fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

/// What the ClientHello says.
pub(super) struct Hello {
    /// The name that the certificate must bear.
    pub(super) name: &'static str,
    pub(super) send_sni: bool,
    pub(super) alpn: &'static [&'static str],
}

impl Hello {
    pub(super) fn to(name: &'static str) -> Self {
        Self { name, send_sni: true, alpn: &["http/1.1"] }
    }

    pub(super) fn connection(&self, root: &CertificateDer<'static>) -> ClientConnection {
        let name = ServerName::try_from(self.name).unwrap();
        ClientConnection::new(Arc::new(self.config(root)), name).unwrap()
    }

    pub(super) fn config(&self, root: &CertificateDer<'static>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.enable_sni = self.send_sni;
        config.alpn_protocols = self.alpn.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
        config
    }
}
