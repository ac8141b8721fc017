//! One connection of the jail, from its first byte to its end.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    rc::Rc,
};

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use super::{
    Aim, Flow, SyntheticNames, Timeouts, http2, intercept,
    listener::Downstream,
    opaque, pinned, serve,
    sniff::{Protocol, sniff},
    stream::Stream,
    worker::Worker,
};
use crate::{
    policy::{Authority, Host, Permitted, Process, Scheme, Silent},
    streams::{Bulk, Prefixed},
};

pub(super) const DNS_PORT: u16 = 53;
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
    pub(super) reach: Reach,
}

/// How a client has come to where it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Its connection was turned: it takes us for the server at its destination.
    Turned,
    /// It connected to this proxy, whose address the destination is until a request, or a server
    /// name, tells another.
    Direct,
    /// It asked for a tunnel by CONNECT.
    Tunnel,
}

impl Destination {
    fn new(flow: Flow, client: SocketAddr, names: &dyn SyntheticNames) -> Self {
        Self {
            scheme: Scheme::Http,
            authority: Authority::new(host_at(flow.original.ip(), names), flow.original.port()),
            requester: client.ip().to_canonical(),
            process: flow.process,
            reach: match flow.aim {
                Aim::Elsewhere => Reach::Turned,
                Aim::Proxy => Reach::Direct,
            },
        }
    }

    /// The end of a tunnel that the same program asked for.
    pub(super) fn connected_to(&self, target: Authority, names: &dyn SyntheticNames) -> Self {
        let authority = match target.host() {
            Host::Ip(ip) => Authority::new(host_at(*ip, names), target.port()),
            Host::Name(_) => target,
        };
        let (requester, process) = (self.requester, self.process.clone());
        Self { scheme: Scheme::Http, authority, requester, process, reach: Reach::Tunnel }
    }

    fn inside_tls(self, host: Host) -> Self {
        let authority = Authority::new(host, self.tls_port());
        Self { scheme: Scheme::Https, authority, ..self }
    }

    /// The port of what is asked for by TLS. A client that came to the proxy by itself tells none
    /// but in its requests.
    pub(super) fn tls_port(&self) -> u16 {
        match self.reach {
            Reach::Turned | Reach::Tunnel => self.authority.port(),
            Reach::Direct => Scheme::Https.default_port(),
        }
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
    if flow.aim == Aim::Elsewhere && flow.original.port() == DNS_PORT {
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
    let opened = match destination.reach {
        Reach::Turned | Reach::Tunnel => worker.openings.tcp(&destination.authority),
        Reach::Direct => None,
    };
    if let Some(opened) = opened {
        let stream = Prefixed::new(Bytes::new(), stream);
        return Box::pin(opaque::carry_opened(&worker, &destination, opened, stream)).await;
    }
    let mut bytes = BytesMut::with_capacity(FIRST_READ);
    let first = first_bytes(&worker, &destination, &mut stream, &mut bytes).await;
    let stream = Prefixed::new(bytes.freeze(), stream);
    let protocol = match first {
        Ok(First::Told(protocol)) => (protocol, stream),
        Ok(First::Open(permitted)) => {
            return Box::pin(opaque::carry_silent(&worker, *permitted, stream)).await;
        }
        Ok(First::Nothing) => return never_came(&worker, &destination),
        Ok(First::Denied) => return,
        Err(error) => {
            tracing::debug!(%error, "a connection broke before its first request");
            return never_came(&worker, &destination);
        }
    };
    match protocol {
        (Protocol::Http1, stream) => serve::serve(worker, destination, stream).await,
        (Protocol::Tls, stream) => {
            let pinned = Box::pin(pinned::serve(&worker, &destination, stream)).await;
            let Some(stream) = pinned else { return };
            match intercept::accept(&worker, &destination, Bulk::new(stream)).await {
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
        (Protocol::Opaque, _) if destination.reach == Reach::Direct => {
            // It asked for nothing that is elsewhere.
            worker.recorder.refused_flow("TCP", &destination.authority);
        }
        (Protocol::Opaque, stream) => {
            Box::pin(opaque::judge_tcp(&worker, &destination, stream)).await;
        }
        (Protocol::NeedMore, _) => {
            worker.recorder.refused_flow("TCP", &destination.authority);
        }
    }
}

/// Nothing was said. Who opened a tunnel before has asked for something, though.
fn never_came(worker: &Worker, destination: &Destination) {
    if destination.reach == Reach::Tunnel {
        worker.recorder.refused_flow("TCP", &destination.authority);
    }
}

/// What a connection began with.
enum First {
    /// With this protocol. `NeedMore` means that the client fell silent, closed or broke off in
    /// between.
    Told(Protocol),
    /// With a silence in which it was let pass: the server may be the one to speak first.
    Open(Box<Permitted<()>>),
    /// With a silence in which it was denied; it has its record.
    Denied,
    /// With nothing: it asked for nothing, so nothing was refused.
    Nothing,
}

/// Reads until it is known how to go on.
async fn first_bytes<S: Stream>(
    worker: &Worker,
    destination: &Destination,
    stream: &mut S,
    bytes: &mut BytesMut,
) -> io::Result<First> {
    let Timeouts { silence, first_bytes: mut patience, .. } = worker.timeouts;
    if destination.reach != Reach::Direct && worker.gate.may_open_tcp() {
        if let Ok(told) = timeout(silence, read_until_told(stream, bytes)).await {
            return told;
        }
        match worker.gate.judge_silent(opaque::facts(destination)).await {
            Silent::Open(permitted) => return Ok(First::Open(permitted)),
            Silent::Denied => return Ok(First::Denied),
            Silent::Unknown => patience = patience.saturating_sub(silence),
        }
    }
    tokio::select! {
        biased;
        told = timeout(patience, read_until_told(stream, bytes)) => {
            told.unwrap_or(Ok(First::Told(Protocol::NeedMore)))
        }
        () = worker.closing.silence() => Ok(First::Nothing),
    }
}

async fn read_until_told<S: Stream>(stream: &mut S, bytes: &mut BytesMut) -> io::Result<First> {
    loop {
        match stream.read_buf(bytes).await {
            Ok(1..) => {}
            Err(error) if bytes.is_empty() => return Err(error),
            Ok(0) | Err(_) if bytes.is_empty() => return Ok(First::Nothing),
            Ok(0) | Err(_) => return Ok(First::Told(Protocol::NeedMore)),
        }
        match sniff(bytes) {
            Protocol::NeedMore => {}
            protocol => return Ok(First::Told(protocol)),
        }
    }
}
