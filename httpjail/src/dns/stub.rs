//! The stub's sockets: UDP, and DNS over TCP on streams that the proxy hands in.

use std::{io, net::UdpSocket as StdUdpSocket, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UdpSocket,
    time::timeout,
};
use tracing::{debug, trace};

use super::{message, synthetic::Names};

/// How long a TCP stream may be without a complete query, or a client without taking replies
/// (RFC 7766, 6.2.3 asks for seconds, not minutes).
const IDLE: Duration = Duration::from_secs(10);

/// How many bytes of replies are gathered before they are written: pipelined queries are
/// answered together, but never more of them than this.
const REPLIES: usize = 16 * 1024;

/// The largest UDP datagram. A query that fills it has no meaning, but one cut short could.
const MAX_DATAGRAM: usize = 65_535;

/// Answers the jail's DNS queries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stub {
    names: Arc<Names>,
}

/// A socket that can't be served (any longer).
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The socket can't be used from the runtime.
    #[error("register the DNS socket")]
    Register(#[source] io::Error),
    /// The socket fails in a way that won't pass.
    #[error("receive DNS queries")]
    Receive(#[source] io::Error),
}

impl Stub {
    /// A stub that names addresses from `names`.
    pub fn new(names: Arc<Names>) -> Self {
        Self { names }
    }

    /// Answers queries on `socket` until the future is dropped.
    ///
    /// The socket must be bound to one address, not the wildcard, or replies may come from
    /// another address than the query went to.
    ///
    /// # Errors
    ///
    /// When the socket can't be served at all. A reply that can't be sent is only noted: the
    /// client asks again.
    pub async fn serve_udp(&self, socket: StdUdpSocket) -> Result<(), DnsError> {
        socket.set_nonblocking(true).map_err(DnsError::Register)?;
        let socket = UdpSocket::from_std(socket).map_err(DnsError::Register)?;
        let mut query = vec![0; MAX_DATAGRAM];
        loop {
            let (length, client) = match socket.recv_from(&mut query).await {
                Ok(received) => received,
                Err(error) if is_passing(&error) => continue,
                Err(error) => return Err(DnsError::Receive(error)),
            };
            let bytes = query.get(..length).unwrap_or_default();
            let Some(reply) = message::reply(bytes, &self.names) else {
                trace!(%client, length, "no reply to a datagram that is no query");
                continue;
            };
            if let Err(error) = socket.send_to(&reply, client).await {
                debug!(%client, %error, "a DNS reply was not sent");
            }
        }
    }

    /// Answers the queries that come on `stream`, each after its length in two bytes, in their
    /// order, until the client closes it, breaks the framing or falls silent.
    pub async fn serve_tcp(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        match self.converse(&mut stream).await {
            Ok(()) => trace!("a DNS stream ended"),
            Err(error) => debug!(%error, "a DNS stream broke"),
        }
    }

    async fn converse(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
        let mut queries = Vec::with_capacity(512);
        let mut replies = Vec::new();
        loop {
            let consumed = self.answer_complete(&queries, &mut replies);
            queries.drain(..consumed);
            if !replies.is_empty() {
                timeout(IDLE, stream.write_all(&replies)).await??;
                replies.clear();
                continue;
            }
            if timeout(IDLE, stream.read_buf(&mut queries)).await?? == 0 {
                return Ok(());
            }
        }
    }

    /// Answers the queries that are whole, as many as fit into one batch of replies, and says
    /// how many bytes they were.
    fn answer_complete(&self, queries: &[u8], replies: &mut Vec<u8>) -> usize {
        let mut rest = queries;
        while replies.len() < REPLIES
            && let Some((query, after)) = split_framed(rest)
        {
            rest = after;
            let reply = message::reply(query, &self.names);
            // A reply is at most 512 bytes, so its length always fits.
            if let Some(reply) = reply
                && let Ok(length) = u16::try_from(reply.len())
            {
                replies.extend_from_slice(&length.to_be_bytes());
                replies.extend_from_slice(&reply);
            }
        }
        queries.len() - rest.len()
    }
}

/// The first message of `bytes` and what follows it, when it is whole.
fn split_framed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// Errors that a UDP socket reports once, about one packet, and then works on.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
