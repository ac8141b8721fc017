//! TLS that goes through unread, for programs that take no certificate but their server's own.
//!
//! The server name is all that can be judged, so there must be one, and it must be the true one: a
//! hello that holds Encrypted Client Hello may hide another behind it, and can't be told from one
//! that only pretends to. It is intercepted, like all that matches no `--passthrough`; who only
//! pretends doesn't mind, and who means it breaks off.

use bytes::{Bytes, BytesMut};
use rustls::server::Acceptor;
use tokio::{io::AsyncReadExt, time::timeout};

use super::{
    connection::Destination,
    hello::{ENCRYPTED_CLIENT_HELLO, has_extension},
    intercept::asked_for,
    opaque,
    stream::Stream,
    worker::Worker,
};
use crate::policy::Host;
use crate::streams::Prefixed;

/// Serves a TLS connection if it is one that goes through unread; else gives it back as it was.
pub(super) async fn serve<S: Stream + 'static>(
    worker: &Worker,
    destination: &Destination,
    stream: Prefixed<S>,
) -> Option<Prefixed<S>> {
    if worker.openings.passthrough.is_empty() {
        return Some(stream);
    }
    let (bytes, mut stream) = stream.into_parts();
    let mut bytes = BytesMut::from(bytes);
    let reading = server_name(&mut stream, &mut bytes);
    // What breaks off or stays silent here does so there, too, and is recorded.
    let name = timeout(worker.timeouts.handshake, reading).await.unwrap_or(None);
    let bytes = bytes.freeze();
    match name.filter(|name| passes(worker, destination, name, &bytes)) {
        Some(name) => {
            opaque::judge_tls(worker, destination, name, Prefixed::new(bytes, stream)).await;
            None
        }
        None => Some(Prefixed::new(bytes, stream)),
    }
}

fn passes(worker: &Worker, destination: &Destination, name: &Host, hello: &Bytes) -> bool {
    let agrees = match destination.authority.host() {
        Host::Name(_) => destination.authority.host() == name,
        Host::Ip(_) => true,
    };
    if !agrees || !worker.openings.passes_through(name) {
        return false;
    }
    let is_plain = has_extension(hello, ENCRYPTED_CLIENT_HELLO) == Some(false);
    if !is_plain {
        worker.ech.intercepted();
    }
    is_plain
}

/// Reads until the hello is whole; `None` where it never is, or names no host.
async fn server_name<S: Stream>(stream: &mut S, bytes: &mut BytesMut) -> Option<Host> {
    let mut acceptor = Acceptor::default();
    let mut fed = 0;
    loop {
        let mut fresh = bytes.get(fed..).unwrap_or_default();
        while !fresh.is_empty() {
            acceptor.read_tls(&mut fresh).ok().filter(|count| *count > 0)?;
            if let Some(accepted) = acceptor.accept().ok()? {
                return asked_for(&accepted.client_hello())?.ok();
            }
        }
        fed = bytes.len();
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}
