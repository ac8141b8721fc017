//! An origin and a client that speak HTTP/2.

use std::{
    future::poll_fn,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client, server};
use http::{HeaderMap, Request, Response, Version};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Builder,
    task::{LocalSet, spawn_local},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    lab::{A_TEST, Lab},
    wire::Hello,
};
use crate::streams::Duplex;

/// An origin on loopback that does what a request's path says.
pub(super) struct Origin2 {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<Request<()>>>,
    resets: Mutex<Vec<Reason>>,
    sent: AtomicUsize,
}

/// How the origin is set up.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    pub(super) streams: u32,
    /// Whether it takes a CONNECT with a protocol.
    pub(super) takes_protocols: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self { streams: 100, takes_protocols: false }
    }
}

impl Origin2 {
    /// Plain, by prior knowledge.
    pub(super) fn plain(manner: Manner) -> Self {
        Self::start(manner, None)
    }

    /// Inside TLS as `a.test`, with this choice of protocols.
    pub(super) fn tls(alpn: &[&str]) -> (Self, CertificateDer<'static>) {
        Self::tls_with(Manner::default(), alpn)
    }

    /// The same in this manner.
    pub(super) fn tls_with(manner: Manner, alpn: &[&str]) -> (Self, CertificateDer<'static>) {
        let key = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        let root = key.cert.der().clone();
        let der = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![root.clone()], der.into())
                .unwrap();
        config.alpn_protocols = alpn.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
        (Self::start(manner, Some(Arc::new(config))), root)
    }

    fn start(manner: Manner, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let seen = Arc::new(Seen::default());
        let noted = Arc::clone(&seen);
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    noted.connections.fetch_add(1, Ordering::SeqCst);
                    let (noted, tls) = (Arc::clone(&noted), tls.clone());
                    spawn_local(async move {
                        match tls {
                            None => converse(stream, manner, noted).await,
                            Some(tls) => {
                                if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                                    converse(stream, manner, noted).await;
                                }
                            }
                        }
                    });
                }
            });
        });
        Self { address, seen }
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// The heads of what has come.
    pub(super) fn requests(&self) -> Vec<Request<()>> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// The codes by which requests to `/hang` were given up.
    pub(super) fn resets(&self) -> Vec<Reason> {
        self.seen.resets.lock().unwrap().clone()
    }

    /// How much of `/endless` has gone out.
    pub(super) fn sent(&self) -> usize {
        self.seen.sent.load(Ordering::SeqCst)
    }
}

async fn converse<S>(stream: S, manner: Manner, seen: Arc<Seen>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(manner.streams)
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 20);
    if manner.takes_protocols {
        builder.enable_connect_protocol();
    }
    let Ok(mut connection) = builder.handshake(stream).await else { return };
    let goes = std::rc::Rc::new(tokio::sync::Notify::new());
    loop {
        tokio::select! {
            next = connection.accept() => {
                let Some(Ok((request, respond))) = next else { return };
                let (parts, body) = request.into_parts();
                let head = Request::from_parts(parts, ());
                seen.requests.lock().unwrap().push(head.clone());
                spawn_local(answer(head, body, respond, (Arc::clone(&seen), std::rc::Rc::clone(&goes))));
            }
            () = goes.notified() => connection.graceful_shutdown(),
        }
    }
}

async fn answer(
    head: Request<()>,
    mut body: RecvStream,
    mut respond: server::SendResponse<Bytes>,
    (seen, goes): (Arc<Seen>, std::rc::Rc<tokio::sync::Notify>),
) {
    let is_first = {
        let requests = seen.requests.lock().unwrap();
        requests.iter().filter(|request| request.uri() == head.uri()).count() == 1
    };
    match head.uri().path() {
        "/chat" if head.method() == "CONNECT" => {
            let agreed = Response::builder().header("sec-websocket-protocol", "chat");
            let mut stream = respond.send_response(agreed.body(()).unwrap(), false).unwrap();
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                if !data.is_empty() {
                    stream.send_data([b"heard ", &data[..]].concat().into(), false).unwrap();
                }
            }
            // Whoever has gone needs no end.
            let _ = stream.send_data(Bytes::from_static(b"bye"), true);
        }
        "/flood" => {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            while let Some(Ok(mut data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                while !data.is_empty() {
                    stream.reserve_capacity(data.len());
                    let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else {
                        return;
                    };
                    stream.send_data(data.split_to(room.min(data.len())), false).unwrap();
                }
            }
            stream.send_data(Bytes::new(), true).unwrap();
        }
        "/hang" => {
            let reason = poll_fn(|cx| respond.poll_reset(cx)).await;
            seen.resets.lock().unwrap().extend(reason);
        }
        "/refuse" if is_first => respond.send_reset(Reason::REFUSED_STREAM),
        "/http1" => respond.send_reset(Reason::HTTP_1_1_REQUIRED),
        "/hints" => {
            for number in 0..3 {
                let hint = Response::builder().status(103).header("link", number);
                respond.send_informational(hint.body(()).unwrap()).unwrap();
            }
            respond.send_response(Response::new(()), true).unwrap();
        }
        "/break" => {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"half"), false).unwrap();
            // So that the reset doesn't overtake the data.
            while body.data().await.is_some() {}
            stream.send_reset(Reason::ENHANCE_YOUR_CALM);
        }
        "/sized" => {
            let response = Response::builder().header("content-length", 4).body(()).unwrap();
            let mut stream = respond.send_response(response, false).unwrap();
            stream.send_data(Bytes::from_static(b"full"), false).unwrap();
            // The end of the stream takes its time.
            poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
        }
        "/endless" => {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            loop {
                stream.reserve_capacity(16 * 1024);
                let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
                stream.send_data(Bytes::from(vec![0; room]), false).unwrap();
                seen.sent.fetch_add(room, Ordering::SeqCst);
            }
        }
        path => {
            if path == "/goes" {
                goes.notify_one();
            }
            let response = Response::builder()
                .header("x-version", format!("{:?}", head.version()))
                .header("connection-like", "x")
                .body(())
                .unwrap();
            let is_head = head.method() == "HEAD";
            let mut stream = respond.send_response(response, is_head).unwrap();
            if is_head {
                return;
            }
            while let Some(data) = body.data().await {
                let Ok(data) = data else { return };
                body.flow_control().release_capacity(data.len()).unwrap();
                stream.send_data(data, false).unwrap();
            }
            let mut trailers = body.trailers().await.unwrap().unwrap_or_default();
            trailers.insert("grpc-status", "0".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        }
    }
}

/// A client's end of one connection to the proxy.
pub(super) struct Client2 {
    pub(super) sender: client::SendRequest<Bytes>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(super) struct Reply2 {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Option<HeaderMap>,
}

/// Runs a client's side of a test.
pub(super) fn on_a_runtime<F: Future>(test: F) -> F::Output {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

impl Client2 {
    /// By prior knowledge, meant for `a.test` at `port`.
    pub(super) async fn plain(lab: &Lab, port: u16) -> Self {
        Self::start(tokio_stream(lab.connect((A_TEST, port)).stream)).await
    }

    /// Inside TLS, by ALPN.
    pub(super) async fn tls(lab: &Lab, port: u16) -> Self {
        let hello = Hello { alpn: &["h2", "http/1.1"], ..Hello::to("a.test") };
        let connector = TlsConnector::from(Arc::new(hello.config(&lab.authority)));
        let stream = tokio_stream(lab.connect((A_TEST, port)).stream);
        let name = ServerName::try_from("a.test").unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Self::start(stream).await
    }

    pub(super) async fn start<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: S) -> Self {
        let (sender, connection) = client::handshake(stream).await.unwrap();
        spawn_local(async move { drop(connection.await) });
        Self { sender }
    }

    /// Sends a request without a body.
    pub(super) fn begin(&mut self, request: http::request::Builder) -> client::ResponseFuture {
        self.sender.send_request(head(request), true).unwrap().0
    }

    /// Begins a request with a body.
    pub(super) fn begin_upload(
        &mut self,
        request: http::request::Builder,
    ) -> (client::ResponseFuture, SendStream<Bytes>) {
        self.sender.send_request(head(request), false).unwrap()
    }

    /// Asks by CONNECT, and gives the head of the answer and what is behind it.
    pub(super) async fn connect(
        &mut self,
        request: Request<()>,
    ) -> Result<(Response<()>, Duplex<()>), h2::Error> {
        poll_fn(|cx| self.sender.poll_ready(cx)).await?;
        let (response, stream) = self.sender.send_request(request, false)?;
        let (head, body) = response.await?.into_parts();
        Ok((Response::from_parts(head, ()), Duplex::new(body, stream, ())))
    }

    pub(super) async fn ask(
        &mut self,
        request: http::request::Builder,
    ) -> Result<Reply2, h2::Error> {
        poll_fn(|cx| self.sender.poll_ready(cx)).await?;
        read(self.begin(request)).await
    }

    /// Sends a request with a body and trailers.
    pub(super) async fn send(
        &mut self,
        request: http::request::Builder,
        body: &[u8],
        trailers: HeaderMap,
    ) -> Result<Reply2, h2::Error> {
        poll_fn(|cx| self.sender.poll_ready(cx)).await?;
        let (response, mut stream) = self.sender.send_request(head(request), false)?;
        stream.send_data(Bytes::copy_from_slice(body), trailers.is_empty())?;
        if !trailers.is_empty() {
            stream.send_trailers(trailers)?;
        }
        read(response).await
    }
}

fn tokio_stream(stream: TcpStream) -> tokio::net::TcpStream {
    stream.set_nonblocking(true).unwrap();
    tokio::net::TcpStream::from_std(stream).unwrap()
}

fn head(request: http::request::Builder) -> Request<()> {
    request.version(Version::HTTP_2).body(()).unwrap()
}

/// Reads an answer to its end.
pub(super) async fn read(response: client::ResponseFuture) -> Result<Reply2, h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?;
    Ok(Reply2 { status: head.status.as_u16(), headers: head.headers, body, trailers })
}
