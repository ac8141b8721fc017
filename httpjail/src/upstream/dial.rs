//! Opens connections to origins: first TCP, to the address that was checked, then TLS.

use std::{net::SocketAddr, time::Duration};

use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Options, Origin, Proxies, Timeouts, Trust, TrustError, UpstreamError, identities::Identities,
    resolve::Resolver, trust::Offer, versions::Versions,
};
use crate::{
    policy::{Host, Scheme},
    streams::Bulk,
};

/// How long one address may keep the next waiting (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);

/// How long a connection is silent before the kernel asks whether the origin is still there, as the
/// client's own kernel would without the jail.
const PROBE_AFTER: Duration = Duration::from_secs(60);

/// A connection to an origin.
pub(super) enum Connection {
    /// For `http`.
    Plain(TcpStream),
    /// For `http`, to a proxy that is told in each request where that goes.
    Forwarded(TcpStream),
    /// For `https`, verified.
    Tls(Box<TlsStream<Bulk<TcpStream>>>),
}

/// What all threads need to dial: the resolver's rules and the trusted roots.
#[derive(Debug)]
pub(crate) struct Route {
    pub(super) resolver: Resolver,
    trust: Trust,
    identities: Identities,
    pub(super) proxies: Proxies,
    pub(super) timeouts: Timeouts,
    pub(super) versions: Versions,
}

impl Route {
    /// The way out under the user's `options`; `own` are the proxy's listeners, never dialled.
    pub(crate) fn new(options: &Options, own: Vec<SocketAddr>) -> Result<Self, TrustError> {
        let trust = Trust::new(&options.extra_ca)?;
        let identities = Identities::new(&options.identities);
        let resolver = Resolver::new(options, own);
        let proxies = options.proxies.clone();
        let (timeouts, versions) = (options.timeouts, Versions::new());
        Ok(Self { resolver, trust, identities, proxies, timeouts, versions })
    }

    /// Connects to `origin`, or to the proxy that takes requests to it one by one. By TLS it's
    /// offered these versions of HTTP.
    pub(super) async fn dial(
        &self,
        origin: &Origin,
        offer: Offer,
    ) -> Result<Connection, UpstreamError> {
        match self.forwarder(origin) {
            Some(proxy) => self.reach_forwarder(proxy, origin).await.map(Connection::Forwarded),
            None => self.dial_through(origin, offer).await,
        }
    }

    /// Connects to `origin`, through a proxy if need be: what is written goes there, whatever it is.
    pub(super) async fn dial_through(
        &self,
        origin: &Origin,
        offer: Offer,
    ) -> Result<Connection, UpstreamError> {
        let stream = self.open(origin).await?;
        match origin.scheme {
            Scheme::Http | Scheme::Tcp | Scheme::Tls => Ok(Connection::Plain(stream)),
            Scheme::Https => self.handshake(origin.authority.host(), stream, offer).await,
        }
    }

    /// The TCP connection for that, for whatever is spoken on it.
    pub(crate) async fn open(&self, origin: &Origin) -> Result<TcpStream, UpstreamError> {
        if let Some(proxy) = self.proxies.of(origin) {
            return self.tunnel_through(proxy, origin).await;
        }
        let addresses = self.resolver.resolve(&origin.authority).await?;
        self.connect_to(origin.authority.host(), addresses).await
    }

    /// Connects to one of the addresses of `host` in time.
    pub(super) async fn connect_to(
        &self,
        host: &Host,
        addresses: Vec<SocketAddr>,
    ) -> Result<TcpStream, UpstreamError> {
        timeout(self.timeouts.connect, connect(host, addresses))
            .await
            .map_err(|_| UpstreamError::ConnectTimeout(host.clone()))?
    }

    /// Reads the roots, unless that was done, so that a dial soon after needn't wait for it.
    pub(super) async fn read_roots(&self) {
        if let Err(error) = self.trust.client_config(Offer::Http1).await {
            // The dial will say so again, to somebody who wants to know.
            tracing::debug!(%error, "the roots were not read ahead");
        }
    }

    /// Whether the roots were read.
    pub(super) fn has_roots(&self) -> bool {
        self.trust.is_ready()
    }

    async fn handshake(
        &self,
        host: &Host,
        stream: TcpStream,
        offer: Offer,
    ) -> Result<Connection, UpstreamError> {
        let config = self.identities.towards(host, self.trust.client_config(offer).await?);
        let connector = TlsConnector::from(config);
        let failed = |source| UpstreamError::Tls { host: host.clone(), source }.plainly();
        let name = server_name(host).map_err(failed)?;
        let stream = timeout(self.timeouts.handshake, connector.connect(name, Bulk::new(stream)))
            .await
            .map_err(|_| UpstreamError::TlsTimeout(host.clone()))?
            .map_err(failed)?;
        Ok(Connection::Tls(Box::new(stream)))
    }
}

fn server_name(host: &Host) -> std::io::Result<ServerName<'static>> {
    match host {
        Host::Name(name) => ServerName::try_from(name.clone()).map_err(std::io::Error::other),
        Host::Ip(ip) => Ok(ServerName::IpAddress((*ip).into())),
    }
}

/// Tries the addresses, families in turns, each a little after the one before; the first
/// connection wins.
async fn connect(host: &Host, addresses: Vec<SocketAddr>) -> Result<TcpStream, UpstreamError> {
    if let [address] = addresses.as_slice() {
        return attempt(*address).await;
    }
    let mut waiting = interleave(addresses).into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = None;
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(attempt(address));
        }
        match timeout(STAGGER, attempts.join_next()).await {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(error)))) => failure = Some(error),
            Ok(Some(Err(_))) | Err(_) => {}
            Ok(None) => break,
        }
    }
    Err(failure.unwrap_or_else(|| UpstreamError::NoAddress(host.clone())))
}

async fn attempt(address: SocketAddr) -> Result<TcpStream, UpstreamError> {
    let failed = |source| UpstreamError::Connect { address, source };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_AFTER);
    SockRef::from(&stream).set_tcp_keepalive(&probes).map_err(failed)?;
    Ok(stream)
}

/// Alternates between the families, beginning with that of the resolver's first answer.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut other = other.into_iter();
    let mut order = Vec::new();
    for address in preferred {
        order.push(address);
        order.extend(other.next());
    }
    order.extend(other);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let found = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        let order = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(interleave(found), order);
    }

    #[test]
    fn silent_origins_are_probed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stream = runtime.block_on(attempt(address)).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), PROBE_AFTER);
    }
}
