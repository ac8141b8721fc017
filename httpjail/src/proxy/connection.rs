//! One connection of the jail, from its first byte to its end.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use bytes::BytesMut;
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use super::{
    Flow, SyntheticNames, http2, intercept,
    listener::Downstream,
    prefixed::Prefixed,
    serve,
    sniff::{Protocol, sniff},
    stream::Stream,
    worker::Worker,
};
use crate::policy::{Authority, Host, Process, Scheme};

const DNS_PORT: u16 = 53;
const FIRST_READ: usize = 4 * 1024;

/// Where a connection was meant to go, and whose it is.
pub(super) struct Destination {
    /// Known once the protocol is.
    pub(super) scheme: Scheme,
    /// The name that the client connected to: over TLS the server name that it sent, else the
    /// name of the synthetic address; the address itself where there is no name.
    pub(super) authority: Authority,
    pub(super) requester: IpAddr,
    pub(super) process: Option<Process>,
    /// Whether the client asked for it by CONNECT.
    pub(super) by_connect: bool,
}

impl Destination {
    fn new(flow: Flow, client: SocketAddr, names: &dyn SyntheticNames) -> Self {
        Self {
            scheme: Scheme::Http,
            authority: Authority::new(host_at(flow.original.ip(), names), flow.original.port()),
            requester: client.ip().to_canonical(),
            process: flow.process,
            by_connect: false,
        }
    }

    /// The end of a tunnel that the same program asked for.
    pub(super) fn connected_to(&self, target: Authority, names: &dyn SyntheticNames) -> Self {
        let authority = match target.host() {
            Host::Ip(ip) => Authority::new(host_at(*ip, names), target.port()),
            Host::Name(_) => target,
        };
        let (requester, process) = (self.requester, self.process.clone());
        Self { scheme: Scheme::Http, authority, requester, process, by_connect: true }
    }

    fn inside_tls(self, host: Host) -> Self {
        let authority = Authority::new(host, self.authority.port());
        Self { scheme: Scheme::Https, authority, ..self }
    }
}

/// The name that an address stands for, or else the address.
fn host_at(ip: IpAddr, names: &dyn SyntheticNames) -> Host {
    let ip = ip.to_canonical();
    names.name_of(ip).and_then(|name| Host::parse(&name).ok()).unwrap_or(Host::Ip(ip))
}

/// Serves one connection until it ends.
pub(super) async fn serve(worker: Rc<Worker>, downstream: Downstream) {
    let Downstream { stream, client, flow, share, slot } = downstream;
    let stream = match adopt(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "a connection was closed: it can't be served"),
    };
    if flow.original.port() == DNS_PORT {
        worker.dns_tcp.serve(stream).await;
    } else {
        let destination = Destination::new(flow, client, &*worker.names);
        dispatch(worker, destination, stream).await;
    }
    drop((share, slot));
}

fn adopt(stream: std::net::TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    TcpStream::from_std(stream)
}

/// Finds out what is spoken on `stream`, and serves it.
pub(super) async fn dispatch<S>(worker: Rc<Worker>, destination: Destination, mut stream: S)
where
    S: Stream + 'static,
{
    let protocol = match first_bytes(&mut stream, worker.timeouts.first_bytes).await {
        Ok(Some((protocol, bytes))) => (protocol, Prefixed::new(bytes.freeze(), stream)),
        Ok(None) => return never_came(&worker, &destination),
        Err(error) => {
            tracing::debug!(%error, "a connection broke before its first request");
            return never_came(&worker, &destination);
        }
    };
    match protocol {
        (Protocol::Http1, stream) => serve::serve(worker, destination, stream).await,
        (Protocol::Tls, stream) => {
            match intercept::accept(&worker, &destination.authority, stream).await {
                Ok((stream, host)) => {
                    let destination = destination.inside_tls(host);
                    match stream.get_ref().1.alpn_protocol() {
                        Some(b"h2") => http2::serve(worker, destination, stream).await,
                        _ => serve::serve(worker, destination, stream).await,
                    }
                }
                Err(failure) => {
                    tracing::debug!(error = %failure.error, "a TLS handshake failed");
                    worker.recorder.refused_flow("TLS", &failure.target);
                }
            }
        }
        (Protocol::Http2, stream) => http2::serve(worker, destination, stream).await,
        (Protocol::Opaque | Protocol::NeedMore, _) => {
            worker.recorder.refused_flow("TCP", &destination.authority);
        }
    }
}

/// Nothing was said. Who opened a tunnel before has asked for something, though.
fn never_came(worker: &Worker, destination: &Destination) {
    if destination.by_connect {
        worker.recorder.refused_flow("TCP", &destination.authority);
    }
}

/// Reads until the protocol is known. `NeedMore` means that the client fell silent, closed or broke
/// off in between, `None` that it closed without a byte: it asked for nothing, so nothing was
/// refused.
async fn first_bytes<S: Stream>(
    stream: &mut S,
    patience: Duration,
) -> io::Result<Option<(Protocol, BytesMut)>> {
    let mut bytes = BytesMut::with_capacity(FIRST_READ);
    match timeout(patience, read_until_told(stream, &mut bytes)).await {
        Ok(protocol) => Ok(protocol?.map(|protocol| (protocol, bytes))),
        Err(_) => Ok(Some((Protocol::NeedMore, bytes))),
    }
}

async fn read_until_told<S: Stream>(
    stream: &mut S,
    bytes: &mut BytesMut,
) -> io::Result<Option<Protocol>> {
    loop {
        match stream.read_buf(bytes).await {
            Ok(1..) => {}
            Err(error) if bytes.is_empty() => return Err(error),
            Ok(0) | Err(_) => return Ok((!bytes.is_empty()).then_some(Protocol::NeedMore)),
        }
        match sniff(bytes) {
            Protocol::NeedMore => {}
            protocol => return Ok(Some(protocol)),
        }
    }
}
