//! Accepts TLS with a leaf for the name that the client asked for. No name is ever invented.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::Poll,
};

use rustls::server::{Acceptor, ClientHello};
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{
    connection::{Destination, Reach},
    stream::Stream,
    worker::Worker,
};
use crate::{
    policy::{Authority, AuthorityError, Host, Scheme},
    tls,
    upstream::{Origin, Speaks},
};

/// A handshake that failed, and for whom it was.
pub(super) struct Failure {
    pub(super) error: InterceptError,
    pub(super) target: Authority,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum InterceptError {
    #[error("finish the handshake in time")]
    Timeout,
    #[error("read a client hello: {0}")]
    Hello(#[source] io::Error),
    #[error("find out what is asked for: the client names no server (SNI)")]
    NoName,
    #[error("read the server name: {0}")]
    ServerName(#[from] AuthorityError),
    #[error("mint a leaf: {0}")]
    Leaf(#[from] tls::AuthorityError),
    #[error("finish the handshake: {0}")]
    Handshake(#[source] io::Error),
}

/// Accepts TLS on `stream`, and tells the host that the client asked for: its server name, or what
/// `destination` says where it sent none.
pub(super) async fn accept<S: Stream>(
    worker: &Worker,
    destination: &Destination,
    stream: S,
) -> Result<(TlsStream<S>, Host), Failure> {
    let mut target = destination.authority.clone();
    let handshake =
        timeout(worker.timeouts.handshake, handshake(worker, destination, &mut target, stream));
    match handshake.await.unwrap_or(Err(InterceptError::Timeout)) {
        Ok(stream) => Ok((stream, target.host().clone())),
        Err(error) => Err(Failure { error, target }),
    }
}

/// The host that a hello asks for, if it names one.
pub(super) fn asked_for(hello: &ClientHello<'_>) -> Option<Result<Host, AuthorityError>> {
    hello.server_name().map(Host::parse)
}

async fn handshake<S: Stream>(
    worker: &Worker,
    destination: &Destination,
    target: &mut Authority,
    stream: S,
) -> Result<TlsStream<S>, InterceptError> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream)
        .await
        .map_err(InterceptError::Hello)?;
    match asked_for(&start.client_hello()) {
        Some(host) => *target = Authority::new(host?, destination.tls_port()),
        None if destination.reach == Reach::Direct => return Err(InterceptError::NoName),
        None => {}
    }
    worker.client.expect_tls();
    let origin = Origin { scheme: Scheme::Https, authority: target.clone() };
    let preference = match worker.client.known_to_speak(&origin) {
        Some(Speaks::Http1) => tls::Preference::Http1,
        Some(Speaks::Http2) | None => tls::Preference::Http2,
    };
    let config = worker.leaves.borrow_mut().server_config(target.host(), preference)?;
    let mut accepting = pin!(start.into_stream(config));
    // The answer to the hello goes out; while the client works on it, there is time for the engine,
    // which a request on this connection will need.
    let begun = poll_fn(|context| Poll::Ready(accepting.as_mut().poll(context))).await;
    let accepted = match begun {
        Poll::Ready(accepted) => accepted,
        Poll::Pending => {
            worker.gate.prepare();
            accepting.await
        }
    };
    accepted.map_err(InterceptError::Handshake)
}
