//! Where a proxy listens that programs are told of.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::Path,
};

use crate::{
    cli::plan::{Bind, Binds},
    session::{SessionError, servers::BACKLOG},
};

/// Where a proxy alone listens if nothing else is said.
const DEFAULT_PORTS: [u16; 2] = [8080, 8443];

/// How a command comes to its proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) struct Places {
    pub(in crate::session) http: SocketAddr,
    pub(in crate::session) https: SocketAddr,
}

/// Binds where the user says, or else one port of the kernel's choice for both.
///
/// # Errors
///
/// When it can't listen there.
pub(in crate::session) fn of_command(
    binds: Binds,
) -> Result<(Vec<TcpListener>, Places), SessionError> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bind = |address| {
        let failed = |source| SessionError::Bind { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        rustix::net::listen(&listener, BACKLOG).map_err(|error| failed(error.into()))?;
        let place = listener.local_addr().map_err(failed)?;
        Ok::<_, SessionError>((listener, reachable(place)))
    };
    let (http, place) = bind(binds.http.map_or(any, |bind| bind.address(0)))?;
    let mut places = Places { http: place, https: place };
    let mut listeners = vec![http];
    if let Some(https) = binds.https {
        let (listener, place) = bind(https.address(0))?;
        places.https = place;
        listeners.push(listener);
    }
    Ok((listeners, places))
}

/// How programs of this machine come to a place that may be all of its addresses.
fn reachable(place: SocketAddr) -> SocketAddr {
    let ip = match place.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, place.port())
}

/// Binds where the user says, or else at the usual ports of this machine alone. Says who can use it.
///
/// # Errors
///
/// When it can't listen there.
pub(in crate::session) fn of_server(binds: Binds) -> Result<Vec<TcpListener>, SessionError> {
    let binds = [binds.http, binds.https].into_iter().zip(DEFAULT_PORTS);
    binds.map(|(bind, port)| listen(bind, port)).collect()
}

fn listen(bind: Option<Bind>, default_port: u16) -> Result<TcpListener, SessionError> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, default_port));
    let address = bind.map_or(default, |bind| bind.address(default_port));
    if bind.is_some_and(Bind::is_bare) {
        tracing::info!(
            "a port alone means 127.0.0.1 here, and not all addresses as in coder/httpjail: who can \
             reach this proxy can use it; 0.0.0.0:{} says all",
            address.port()
        );
    }
    if !address.ip().is_loopback() {
        tracing::warn!("{address}: whoever can reach this address can use the proxy");
    }
    TcpListener::bind(address).map_err(|source| SessionError::Bind { address, source })
}

/// Says where a proxy alone serves, and what programs must trust.
///
/// # Errors
///
/// When it can't be told where that is.
pub(in crate::session) fn tell(
    listeners: &[TcpListener],
    certificate: &Path,
) -> Result<(), SessionError> {
    for (listener, kind) in listeners.iter().zip(["HTTP_PROXY", "HTTPS_PROXY"]) {
        let place = listener.local_addr().map_err(SessionError::Proxy)?;
        tracing::info!("serves at {place}: {kind}=http://{place}");
    }
    tracing::info!(
        "programs must trust {}: CURL_CA_BUNDLE, SSL_CERT_FILE, NODE_EXTRA_CA_CERTS and the like name \
         it; `httpjail trust` says how the whole system does",
        certificate.display()
    );
    Ok(())
}
