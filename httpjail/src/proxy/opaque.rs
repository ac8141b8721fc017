//! Connections as a whole: judged by where they go, and carried unread.

use std::{
    any::Any,
    time::{Duration, SystemTime},
};

use socket2::SockRef;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    connection::Destination,
    forward::tell_of,
    relay::{End, Relayed, relay},
    stream::Stream,
    worker::Worker,
};
use crate::{
    policy::{Authority, Headers, Host, Opened, Permitted, RequestFacts, Scheme},
    record::{Exchange, Fault},
    streams::Prefixed,
    upstream::Origin,
};

/// A TLS alert, fatal, and what it says.
const ACCESS_DENIED: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 49];
const INTERNAL_ERROR: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 80];

/// What records say of a connection without an orderly end.
pub(super) const BROKEN: &str = "the connection broke off";
pub(super) const OVER_LIMIT: &str = "the program had more to say than the rule allows";

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
    let exchange = begin(worker, destination);
    let permitted = worker.gate.open(facts(destination), opened, stream, &exchange);
    carry(worker, permitted, exchange).await;
}

/// Carries a connection that was let pass while its client was silent.
pub(super) async fn carry_silent<S: Stream + 'static>(
    worker: &Worker,
    (permitted, exchange): (Permitted<()>, Exchange),
    stream: Prefixed<S>,
) {
    carry(worker, permitted.with(stream), exchange).await;
}

/// Judges a connection that is neither TLS nor HTTP, and carries it if it may pass.
pub(super) async fn judge_tcp<S: Stream + 'static>(
    worker: &Worker,
    destination: &Destination,
    stream: Prefixed<S>,
) {
    let exchange = begin(worker, destination);
    match worker.gate.judge(facts(destination), stream, &exchange).settle().await {
        Ok(permitted) => carry(worker, permitted, exchange).await,
        Err(_) => exchange.complete(),
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
    let exchange = begin(worker, destination);
    let facts = facts_of(destination, Scheme::Tls, authority);
    match worker.gate.judge(facts, (), &exchange).settle().await {
        Ok(permitted) => carry(worker, permitted.with(stream), exchange).await,
        Err(_) => {
            exchange.complete();
            // Who doesn't hear it any more has ended the connection.
            drop(stream.write_all(&ACCESS_DENIED).await);
        }
    }
}

/// A connection is about to be judged as a whole.
pub(super) fn begin(worker: &Worker, destination: &Destination) -> Exchange {
    worker.recorder.begin(&destination.client)
}

async fn carry<S: Stream + 'static>(
    worker: &Worker,
    permitted: Permitted<Prefixed<S>>,
    exchange: Exchange,
) {
    let (facts, limits, mut client) = permitted.into_parts();
    let unsent = worker.buffers.unsent();
    let origin = Origin { scheme: facts.scheme, authority: facts.authority.clone() };
    let dialled = exchange.now();
    let opened = worker.route.open(&origin).await;
    exchange.connected(dialled.map(|dialled| dialled.elapsed()));
    let mut server = match opened {
        Ok(server) => server,
        Err(error) => {
            tell_of(&error, &exchange);
            tracing::debug!(error = %error.in_one_line(), "a permitted connection failed");
            return refuse(facts.scheme, client).await;
        }
    };
    drop(unsent);
    let most = limits.max_tx_bytes;
    let relayed = relay(&mut client, &mut server, most, &worker.buffers, &exchange).await;
    let Relayed { sent, received, end } = relayed;
    tracing::debug!(url = facts.url(), sent, received, ?end, "a connection was carried");
    match end {
        End::Orderly => return exchange.complete(),
        End::Broken(fault) | End::Unannounced(fault) => exchange.blame(fault, || BROKEN.to_owned()),
        End::OverLimit => exchange.blame(Fault::Jailed, || OVER_LIMIT.to_owned()),
    }
    reset(client.stream());
    reset(&server);
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
