//! A gRPC server, and what its clients need: messages are plain bytes, so that no compiler of
//! interfaces is needed.

use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::Service;
use tonic::{Status, Streaming};

use crate::namespace::Namespace;
use crate::origin::listen;
use crate::servers::Servers;

/// Where gRPC is spoken in the clear; by TLS it is 443.
pub const GRPC_PORT: u16 = 50_051;

/// What a method does, by the last part of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Sends every message back as it comes.
    Echo,
    /// Sends as many messages as the first one says.
    Count,
    /// Sends all messages back as one when the last has come.
    Join,
    /// Fails at once.
    Fail,
    /// Fails after a message.
    FailLate,
    /// Never answers.
    Wait,
}

impl Call {
    /// The path of the method.
    #[must_use]
    pub fn path(self) -> http::uri::PathAndQuery {
        format!("/lab.Lab/{self:?}").parse().expect("a path")
    }

    fn at(path: &str) -> Option<Self> {
        let all = [Self::Echo, Self::Count, Self::Join, Self::Fail, Self::FailLate, Self::Wait];
        all.into_iter().find(|call| call.path() == path)
    }
}

/// Messages that are bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// A gRPC server of one name.
#[derive(Clone, Debug, Default)]
pub struct GrpcOrigin {
    calls: Arc<Mutex<Vec<String>>>,
    given_up: Arc<AtomicUsize>,
}

impl GrpcOrigin {
    /// The paths of the calls so far.
    ///
    /// # Panics
    /// When the server did.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("no server panics").clone()
    }

    /// How many calls of [`Call::Wait`] were given up.
    #[must_use]
    pub fn given_up(&self) -> usize {
        self.given_up.load(Ordering::SeqCst)
    }

    pub(crate) fn start(
        &self,
        namespace: &Namespace,
        servers: &Servers,
        address: IpAddr,
        tls: &TlsAcceptor,
    ) {
        for (port, tls) in [(GRPC_PORT, None), (443, Some(tls.clone()))] {
            let listener = listen(namespace, SocketAddr::new(address, port));
            let _guard = servers.handle().enter();
            let listener = TcpListener::from_std(listener).expect("a listener is pollable");
            servers.spawn(serve(self.clone(), listener, tls));
        }
    }
}

async fn serve(origin: GrpcOrigin, listener: TcpListener, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (origin, tls) = (origin.clone(), tls.clone());
        tokio::spawn(async move {
            let Some(tls) = tls else { return converse(origin, stream).await };
            if let Ok(stream) = tls.accept(stream).await {
                converse(origin, stream).await;
            }
        });
    }
}

async fn converse<S>(origin: GrpcOrigin, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let origin = origin.clone();
        async move {
            let path = request.uri().path().to_owned();
            origin.calls.lock().expect("no server panics").push(path.clone());
            let Some(call) = Call::at(&path) else {
                return Ok::<_, Infallible>(Status::unimplemented(path).into_http());
            };
            // On the wire every kind of call is a stream of messages both ways.
            let method = Method { call, origin };
            Ok(tonic::server::Grpc::new(Plain).streaming(method, request).await)
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    // A client that breaks off is the client's business.
    drop(builder.serve_connection(TokioIo::new(stream), service).await);
}

struct Method {
    call: Call,
    origin: GrpcOrigin,
}

type Answer = tonic::Response<ReceiverStream<Result<Bytes, Status>>>;

impl Service<tonic::Request<Streaming<Bytes>>> for Method {
    type Response = Answer;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let (call, origin) = (self.call, self.origin.clone());
        Box::pin(async move {
            if call == Call::Fail {
                return Err(Status::not_found("no such thing"));
            }
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(act(call, origin, request.into_inner(), sender));
            Ok(tonic::Response::new(ReceiverStream::new(receiver)))
        })
    }
}

async fn act(
    call: Call,
    origin: GrpcOrigin,
    mut messages: Streaming<Bytes>,
    to: mpsc::Sender<Result<Bytes, Status>>,
) {
    if call == Call::Wait {
        to.closed().await;
        origin.given_up.fetch_add(1, Ordering::SeqCst);
        return;
    }
    let mut whole = Vec::new();
    while let Ok(Some(message)) = messages.message().await {
        match call {
            Call::Join => whole.extend_from_slice(&message),
            Call::Count => {
                let count = std::str::from_utf8(&message).ok().and_then(|text| text.parse().ok());
                for number in 0..count.unwrap_or(0_u32) {
                    drop(to.send(Ok(number.to_string().into())).await);
                }
            }
            Call::FailLate => {
                drop(to.send(Ok(message)).await);
                drop(to.send(Err(Status::resource_exhausted("later"))).await);
                return;
            }
            Call::Echo | Call::Fail | Call::Wait => drop(to.send(Ok(message)).await),
        }
    }
    if call == Call::Join {
        drop(to.send(Ok(whole.into())).await);
    }
}
