//! An origin that keeps what it was sent, to the byte, and answers as the test says.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// From a request to the bytes to answer with; `None` closes the connection.
pub(super) type Script = fn(&str) -> Option<Vec<u8>>;

/// An origin on loopback. Its threads end with the connections, and with the test's process.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
}

/// Whether a connection ends with its first answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Once {
    Yes,
    No,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

/// `200` with a short body that says what was asked for.
pub(super) fn echo(request: &str) -> Option<Vec<u8>> {
    let line = request.lines().next().unwrap_or_default();
    Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}", line.len()).into_bytes())
}

impl Origin {
    pub(super) fn plain(script: Script) -> Self {
        Self::start(script, Once::No, None)
    }

    /// An origin that closes each connection after one answer.
    pub(super) fn plain_once(script: Script) -> Self {
        Self::start(script, Once::Yes, None)
    }

    /// An origin inside TLS, whose certificate bears `name`, and the root that vouches for it.
    pub(super) fn tls(script: Script, name: &str) -> (Self, CertificateDer<'static>) {
        let key = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let root = key.cert.der().clone();
        let der = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![root.clone()], der.into())
            .unwrap();
        (Self::start(script, Once::No, Some(Arc::new(config))), root)
    }

    fn start(script: Script, once: Once, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let noted = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                noted.connections.fetch_add(1, Ordering::SeqCst);
                let (noted, tls) = (Arc::clone(&noted), tls.clone());
                thread::spawn(move || converse(stream, tls, (script, once), &noted));
            }
        });
        Self { address, seen }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// The only request that has come.
    pub(super) fn request(&self) -> String {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.into_iter().next().unwrap()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

fn converse(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    script: (Script, Once),
    seen: &Seen,
) {
    match tls {
        None => answer_all(stream, script, seen),
        Some(config) => {
            let connection = ServerConnection::new(config).unwrap();
            answer_all(StreamOwned::new(connection, stream), script, seen);
        }
    }
}

fn answer_all<S: Read + Write>(mut stream: S, (script, once): (Script, Once), seen: &Seen) {
    let mut unread = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut unread) {
        let answer = script(&request);
        seen.requests.lock().unwrap().push(request);
        let Some(answer) = answer else { return };
        if stream.write_all(&answer).and_then(|()| stream.flush()).is_err() || once == Once::Yes {
            return;
        }
    }
}

fn read_request<S: Read>(stream: &mut S, unread: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(length) = whole_request(unread) {
            return Some(String::from_utf8(unread.drain(..length).collect()).unwrap());
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => unread.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    }
}

fn whole_request(bytes: &[u8]) -> Option<usize> {
    let find = |from: usize, end: &[u8]| {
        let at = bytes.get(from..)?.windows(end.len()).position(|w| w == end)?;
        Some(from + at + end.len())
    };
    let head_end = find(0, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..head_end]).to_lowercase();
    if head.contains("\r\ntransfer-encoding: chunked") {
        return find(head_end - 2, b"\r\n0\r\n\r\n").or_else(|| {
            // With trailers.
            find(find(head_end - 2, b"\r\n0\r\n")?, b"\r\n\r\n")
        });
    }
    let length = head.split("\r\ncontent-length: ").nth(1);
    let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
    let end = head_end + length.unwrap_or(0);
    (bytes.len() >= end).then_some(end)
}
