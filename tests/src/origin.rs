//! Web servers that remember every request they saw.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::namespace::Namespace;
use crate::servers::Servers;

/// The ports that an origin serves, whether by TLS, and which protocols it chooses from there. In
/// the clear it takes HTTP/2 by prior knowledge.
pub(crate) const PORTS: [(u16, Scheme, &[&str]); 4] = [
    (80, Scheme::Http, &[]),
    (8080, Scheme::Http, &[]),
    (443, Scheme::Https, &["h2", "http/1.1"]),
    (8443, Scheme::Https, &["http/1.1"]),
];

/// How a port of an origin is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// By TLS.
    Https,
}

/// A request that reached an origin.
#[derive(Clone, Debug)]
pub struct Seen {
    /// How it came.
    pub scheme: Scheme,
    /// The port that it came to.
    pub port: u16,
    /// The version of HTTP that it came by.
    pub version: Version,
    /// Its method.
    pub method: String,
    /// Its target, as sent: path and query.
    pub target: String,
    /// Its Host field, or what HTTP/2 has instead.
    pub host: String,
    /// Its header fields.
    pub headers: http::HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Seen {
    /// `METHOD scheme://host/target`, for assertions that read well.
    #[must_use]
    pub fn line(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        format!("{} {scheme}://{}{}", self.method, self.host, self.target)
    }
}

/// What an origin answers.
pub type Reply = Response<Full<Bytes>>;
type Handler = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// A web server of one name, on two addresses and four ports.
#[derive(Clone)]
pub struct Origin {
    name: String,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
    seen: Arc<Mutex<Vec<Seen>>>,
    handler: Handler,
}

impl Origin {
    pub(crate) fn new(name: &str, v4: Ipv4Addr, v6: Ipv6Addr, handler: Handler) -> Self {
        Self { name: name.to_owned(), v4, v6, seen: Arc::default(), handler }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        self.v4
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        self.v6
    }

    /// What it has seen so far.
    ///
    /// # Panics
    /// When the server did.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no server panics").clone()
    }

    /// [`Seen::line`] of each request so far.
    #[must_use]
    pub fn seen_lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// Opens every port in `namespace` and serves them.
    pub(crate) fn start(
        &self,
        namespace: &Namespace,
        servers: &Servers,
        tls: impl Fn(&[&str]) -> TlsAcceptor,
    ) {
        for (port, scheme, alpn) in PORTS {
            let acceptor = (scheme == Scheme::Https).then(|| tls(alpn));
            for address in [IpAddr::from(self.v4), IpAddr::from(self.v6)] {
                let listener = listen(namespace, SocketAddr::new(address, port));
                let _guard = servers.handle().enter();
                let listener = TcpListener::from_std(listener).expect("a listener is pollable");
                servers.spawn(serve(self.clone(), listener, port, acceptor.clone()));
            }
        }
    }

    async fn answer(self, request: Request<Incoming>, scheme: Scheme, port: u16) -> Reply {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes);
        let host = head.headers.get("host").map(|host| String::from_utf8_lossy(host.as_bytes()));
        let host = host.or_else(|| Some(head.uri.authority()?.as_str().into()));
        let target = match head.version {
            Version::HTTP_2 => head.uri.path_and_query().map(ToString::to_string),
            _ => None,
        };
        let seen = Seen {
            scheme,
            port,
            version: head.version,
            method: head.method.to_string(),
            target: target.unwrap_or_else(|| head.uri.to_string()),
            host: host.unwrap_or_default().into_owned(),
            headers: head.headers.clone(),
            body: body.unwrap_or_default(),
        };
        let reply = (self.handler)(&seen);
        self.seen.lock().expect("no server panics").push(seen);
        reply
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({} at {} and {})", self.name, self.v4, self.v6)
    }
}

/// Answers with the files of a folder, as a web server with no settings would; for a folder in it,
/// with that one's index.
pub fn folder(root: PathBuf) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |seen| {
        let path = seen.target.split('?').next().unwrap_or_default();
        let mut file = root.join(path.trim_start_matches('/'));
        let is_folder = file.is_dir();
        if is_folder {
            file.push("index.html");
        }
        let content = std::fs::read(file);
        let kind = if is_folder { "text/html" } else { "application/octet-stream" };
        let status = if content.is_ok() { 200 } else { 404 };
        let reply = Response::builder().status(status).header("content-type", kind);
        reply.body(content.unwrap_or_default().into()).expect("a legal reply")
    }
}

/// Opens a listener that belongs to `namespace`.
pub(crate) fn listen(namespace: &Namespace, address: SocketAddr) -> StdListener {
    let listener = namespace.run(move || StdListener::bind(address));
    let listener = listener.expect("the address is the lab's own and free");
    listener.set_nonblocking(true).expect("a socket can be non-blocking");
    listener
}

async fn serve(origin: Origin, listener: TcpListener, port: u16, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (origin, tls) = (origin.clone(), tls.clone());
        tokio::spawn(async move {
            let Some(tls) = tls else {
                return converse(origin, stream, Scheme::Http, port).await;
            };
            if let Ok(stream) = tls.accept(stream).await {
                converse(origin, stream, Scheme::Https, port).await;
            }
        });
    }
}

async fn converse<S>(origin: Origin, stream: S, scheme: Scheme, port: u16)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let origin = origin.clone();
        async move { Ok::<_, Infallible>(origin.answer(request, scheme, port).await) }
    });
    // A client that breaks off is the client's business; what it asked is on record.
    drop(
        auto::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}
