//! Connections as a whole: judged by where they go, and carried unread.

use std::{
    any::Any,
    time::{Duration, SystemTime},
};

use socket2::SockRef;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    connection::Destination,
    relay::{End, Relayed, relay},
    stream::Stream,
    worker::Worker,
};
use crate::{
    policy::{Authority, Headers, Host, Opened, Permitted, RequestFacts, Scheme},
    streams::Prefixed,
    upstream::Origin,
};

/// A TLS alert, fatal, and what it says.
const ACCESS_DENIED: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 49];
const INTERNAL_ERROR: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 80];

/// What is judged of a connection to `destination` as a whole.
pub(super) fn facts(destination: &Destination) -> RequestFacts {
    facts_of(destination, Scheme::Tcp, destination.authority.clone())
}

fn facts_of(destination: &Destination, scheme: Scheme, authority: Authority) -> RequestFacts {
    RequestFacts {
        method: scheme.as_str().to_ascii_uppercase(),
        scheme,
        authority,
        path: String::new(),
        query: None,
        protocol: None,
        headers: Headers::default(),
        requester: destination.requester,
        process: destination.process.clone(),
        time: SystemTime::now(),
    }
}

/// Carries a connection that an option opened, before anything was said on it.
pub(super) async fn carry_opened<S: Stream + 'static>(
    worker: &Worker,
    destination: &Destination,
    opened: Opened,
    stream: Prefixed<S>,
) {
    carry(worker, worker.gate.open(facts(destination), opened, stream)).await;
}

/// Carries a connection that was let pass while its client was silent.
pub(super) async fn carry_silent<S: Stream + 'static>(
    worker: &Worker,
    permitted: Permitted<()>,
    stream: Prefixed<S>,
) {
    carry(worker, permitted.with(stream)).await;
}

/// Judges a connection that is neither TLS nor HTTP, and carries it if it may pass.
pub(super) async fn judge_tcp<S: Stream + 'static>(
    worker: &Worker,
    destination: &Destination,
    stream: Prefixed<S>,
) {
    if let Ok(permitted) = worker.gate.judge(facts(destination), stream).settle().await {
        carry(worker, permitted).await;
    }
}

/// Judges a TLS connection by its server name, and carries it if it may pass.
pub(super) async fn judge_tls<S: Stream + 'static>(
    worker: &Worker,
    destination: &Destination,
    name: Host,
    mut stream: Prefixed<S>,
) {
    let authority = Authority::new(name, destination.tls_port());
    let facts = facts_of(destination, Scheme::Tls, authority);
    match worker.gate.judge(facts, ()).settle().await {
        Ok(permitted) => carry(worker, permitted.with(stream)).await,
        // Who doesn't hear it any more has ended the connection.
        Err(_) => drop(stream.write_all(&ACCESS_DENIED).await),
    }
}

async fn carry<S: Stream + 'static>(worker: &Worker, permitted: Permitted<Prefixed<S>>) {
    let (facts, limits, mut client) = permitted.into_parts();
    let unsent = worker.buffers.unsent();
    let origin = Origin { scheme: facts.scheme, authority: facts.authority.clone() };
    let mut server = match worker.route.open(&origin).await {
        Ok(server) => server,
        Err(error) => {
            tracing::debug!(error = %error.in_one_line(), "a permitted connection failed");
            return refuse(facts.scheme, client).await;
        }
    };
    drop(unsent);
    let relayed = relay(&mut client, &mut server, limits.max_tx_bytes, &worker.buffers).await;
    let Relayed { sent, received, end } = relayed;
    tracing::debug!(url = facts.url(), sent, received, ?end, "a connection was carried");
    match end {
        End::Orderly => {}
        End::Broken | End::OverLimit => {
            reset(client.stream());
            reset(&server);
        }
    }
}

/// Tells a client that its server can't be reached, as far as its protocol can say so.
async fn refuse<S: Stream + 'static>(scheme: Scheme, mut client: Prefixed<S>) {
    match scheme {
        Scheme::Tls => drop(client.write_all(&INTERNAL_ERROR).await),
        Scheme::Http | Scheme::Https | Scheme::Tcp => reset(client.stream()),
    }
}

/// Makes the end of `stream` a reset: the other end must not take what it got for all. A tunnel in
/// another connection only ends.
fn reset<S: 'static>(stream: &S) {
    let Some(stream) = (stream as &dyn Any).downcast_ref::<TcpStream>() else { return };
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection ends without a reset");
    }
}
