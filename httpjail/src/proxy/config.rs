//! What the proxy is given to work with.

use std::{
    future::Future, io, net::TcpListener, num::NonZeroUsize, pin::Pin, sync::Arc, thread,
    time::Duration,
};

use tokio::net::TcpStream;

use super::{Canary, FlowTable, SyntheticNames};
use crate::{
    policy::{Engines, Openings},
    record::Recorder,
    tls::Authority,
    upstream::{self, TrustError},
};

/// All that one jail's proxy needs. Listeners are bound and rules are checked before.
pub struct ProxyConfig {
    /// Where the kernel side sends the jail's connections: 127.0.0.1, and `::1` where there is
    /// IPv6.
    pub listeners: Vec<TcpListener>,
    /// Tells where an accepted connection was meant to go.
    pub flows: Arc<dyn FlowTable>,
    /// Connections that the jail's init makes before the command runs.
    pub canary: Canary,
    /// Tells which name a synthetic address stands for.
    pub names: Arc<dyn SyntheticNames>,
    /// Answers DNS over TCP.
    pub dns_tcp: Arc<dyn TcpDns>,
    /// Signs the leaves that jailed programs see.
    pub authority: Arc<Authority>,
    /// Judges requests.
    pub engines: Engines,
    /// Writes the records.
    pub recorder: Recorder,
    /// What the user decided about the way out.
    pub upstream: upstream::Options,
    /// What goes out unread.
    pub openings: Openings,
    /// How many threads serve connections; at least one does.
    pub workers: usize,
    /// How long a client may keep the proxy waiting.
    pub timeouts: Timeouts,
    /// How long what is under way at the end may still take. Nothing is accepted meanwhile.
    pub drain: Duration,
}

/// One worker for every two cores, from 1 to 4.
///
/// The command and what it talks to need cores as well: a second worker on two cores wins nothing,
/// and costs a fifth of the requests for waking each other up. More than four cost memory that a
/// jail has no use for.
pub fn default_workers() -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    (cores / 2).clamp(1, 4)
}

/// Serves DNS over a TCP connection whose original port was 53.
pub trait TcpDns: Send + Sync {
    /// Answers queries until the client closes the connection.
    fn serve(&self, stream: TcpStream) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// How long clients and rules may keep the proxy waiting.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For its first bytes, until the protocol is known.
    pub first_bytes: Duration,
    /// For its first bytes, until the rule is asked whether it may wait for those of the server.
    pub silence: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For a whole request head, from its first byte.
    pub head: Duration,
    /// For the next request on a connection.
    pub idle: Duration,
    /// How long a decision may take before its thread is given up. Engines keep budgets of their
    /// own; this is for one that can't.
    pub decision: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_bytes: Duration::from_secs(10),
            silence: Duration::from_millis(250),
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(20),
            idle: Duration::from_secs(5 * 60),
            decision: Duration::from_secs(2),
        }
    }
}

/// A failure that keeps the proxy from working at all.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The listeners or the signals between threads can't be set up or waited for.
    #[error("listen for the jail's connections")]
    Listen(#[source] io::Error),
    /// A worker thread can't be started.
    #[error("start a worker thread")]
    Worker(#[source] io::Error),
    /// Rules hung too often, each time in a thread that can't be ended.
    #[error("judge requests: the rule hangs")]
    Stuck,
    /// The way out can't be set up.
    #[error("set up the way out")]
    Upstream(#[from] TrustError),
}
