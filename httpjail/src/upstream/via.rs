//! Through a proxy of the user's network by CONNECT (RFC 9110, 9.3.6).

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Origin, Proxy, Route, UpstreamError};
use crate::policy::{Authority, Scheme};

/// How long a proxy's answer may be.
const MOST: usize = 16 * 1024;
/// How many interim answers may come before the one that counts.
const MOST_INTERIM: usize = 8;
pub(super) const HEAD_END: &[u8] = b"\r\n\r\n";

/// Why the proxy of the user's network was no way out. The jailed command may read it: it names
/// neither the proxy nor what that was told.
#[derive(Debug, thiserror::Error)]
pub enum ViaError {
    /// It has no address, or takes no connection.
    #[error("reach it")]
    Reach(#[source] io::Error),
    /// It can't be dialled: a special address, or this proxy itself.
    #[error("reach it: it has no address that can be dialled")]
    Address,
    /// It did not answer in time.
    #[error("get its answer: none in time")]
    Timeout,
    /// The connection broke.
    #[error("get its answer")]
    Broken(#[source] io::Error),
    /// It wants to know who asks.
    #[error("get its consent: it wants other credentials (407)")]
    Credentials,
    /// It said no.
    #[error("get its consent: it answered {0}")]
    Refused(u16),
    /// It speaks something else.
    #[error("understand its answer: is it an HTTP proxy?")]
    NotHttp,
}

impl From<UpstreamError> for ViaError {
    /// What stopped us on the way to the proxy, without its address.
    fn from(error: UpstreamError) -> Self {
        tracing::debug!(error = error.in_one_line(), "the upstream proxy can't be reached");
        match error {
            UpstreamError::Resolve { source, .. } | UpstreamError::Connect { source, .. } => {
                Self::Reach(source)
            }
            UpstreamError::ResolveTimeout(_) | UpstreamError::ConnectTimeout(_) => Self::Timeout,
            _ => Self::Address,
        }
    }
}

impl Route {
    /// The proxy that requests to `origin` are given to one by one, if they are: those by `http`.
    /// Many proxies connect to nothing but port 443. Where the user says the address of a name, only
    /// a connection to that will do.
    pub(super) fn forwarder(&self, origin: &Origin) -> Option<&Proxy> {
        let proxy = self.proxies.of(origin)?;
        let is_forwarded =
            origin.scheme == Scheme::Http && !self.resolver.has_override(origin.authority.host());
        is_forwarded.then_some(proxy)
    }

    /// A connection to `proxy`, for requests to `origin`.
    pub(super) async fn reach_forwarder(
        &self,
        proxy: &Proxy,
        origin: &Origin,
    ) -> Result<TcpStream, UpstreamError> {
        let checked = self.resolver.check_for_proxy(&origin.authority);
        let (stream, _) = tokio::try_join!(self.reach(proxy), checked)?;
        Ok(stream)
    }

    /// A connection to `origin` through `proxy`.
    pub(super) async fn tunnel_through(
        &self,
        proxy: &Proxy,
        origin: &Origin,
    ) -> Result<TcpStream, UpstreamError> {
        let checked = self.resolver.check_for_proxy(&origin.authority);
        let (mut stream, target) = tokio::try_join!(self.reach(proxy), checked)?;
        timeout(self.timeouts.tunnel, tunnel(&mut stream, proxy, &target))
            .await
            .unwrap_or(Err(ViaError::Timeout))?;
        Ok(stream)
    }

    async fn reach(&self, proxy: &Proxy) -> Result<TcpStream, UpstreamError> {
        let reached = async {
            let addresses = self.resolver.resolve_proxy(proxy.authority()).await?;
            self.connect_to(proxy.authority().host(), addresses).await
        };
        Ok(reached.await.map_err(ViaError::from)?)
    }
}

/// Asks `proxy`, at the other end of `stream`, for a connection to `target`: what is written to
/// `stream` from now on goes there.
pub(super) async fn tunnel(
    stream: &mut TcpStream,
    proxy: &Proxy,
    target: &Authority,
) -> Result<(), ViaError> {
    stream.write_all(&question(proxy, target)).await.map_err(ViaError::Broken)?;
    for _ in 0..MOST_INTERIM {
        let head = read_head(stream).await?;
        match status(&head) {
            Some(100 | 102..=199) => {}
            Some(200..=299) => return Ok(()),
            Some(407) => return Err(ViaError::Credentials),
            Some(status) => return Err(ViaError::Refused(status)),
            None => break,
        }
    }
    Err(ViaError::NotHttp)
}

fn question(proxy: &Proxy, target: &Authority) -> Vec<u8> {
    let mut question = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(credentials) = proxy.credentials() {
        question.extend_from_slice(b"Proxy-Authorization: ");
        question.extend_from_slice(credentials.as_bytes());
        question.extend_from_slice(b"\r\n");
    }
    question.extend_from_slice(b"\r\n");
    question
}

/// Reads up to the end of an answer's head, and no byte further: what follows is the origin's.
async fn read_head(stream: &mut TcpStream) -> Result<Vec<u8>, ViaError> {
    let mut head = Vec::new();
    let mut ahead = [0; 1024];
    while head.len() < MOST {
        let seen = stream.peek(&mut ahead).await.map_err(ViaError::Broken)?;
        if seen == 0 {
            return Err(ViaError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        let taken = taken(&head, ahead.get(..seen).unwrap_or_default());
        let begun = head.len();
        head.resize(begun + taken, 0);
        stream.read_exact(&mut head[begun..]).await.map_err(ViaError::Broken)?;
        if head.ends_with(HEAD_END) {
            return Ok(head);
        }
    }
    Err(ViaError::NotHttp)
}

/// How many of the bytes `ahead` belong to the head that begins with `head`.
pub(super) fn taken(head: &[u8], ahead: &[u8]) -> usize {
    let overlap = head.get(head.len().saturating_sub(HEAD_END.len() - 1)..).unwrap_or_default();
    let joined = [overlap, ahead].concat();
    let end = joined.windows(HEAD_END.len()).position(|window| window == HEAD_END);
    end.map_or(ahead.len(), |at| at + HEAD_END.len() - overlap.len())
}

/// The status that an answer's first line has.
pub(super) fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (code, after) = rest.split_at_checked(3)?;
    let plain = code.iter().all(u8::is_ascii_digit) && matches!(after, [] | [b' ', ..]);
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    (plain && code >= 100).then_some(code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_are_told_by_their_first_line() {
        for (head, expected) in [
            (&b"HTTP/1.1 200 Connection established\r\n\r\n"[..], Some(200)),
            (b"HTTP/1.0 200\r\nX: y\r\n\r\n", Some(200)),
            (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Some(407)),
            (b"HTTP/1.1 204 \r\n\r\n", Some(204)),
            (b"HTTP/1.1 100 Continue\r\n\r\n", Some(100)),
            (b"HTTP/1.1 099 \r\n\r\n", None),
            (b"HTTP/1.1 2000 OK\r\n\r\n", None),
            (b"HTTP/1.1 +20 OK\r\n\r\n", None),
            (b"HTTP/1.1 20\r\n\r\n", None),
            (b"HTTP/2 200\r\n\r\n", None),
            (b"ICY 200 OK\r\n\r\n", None),
            (b"\r\n\r\n", None),
            (b"", None),
        ] {
            assert_eq!(status(head), expected, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn a_head_ends_where_it_ends_however_it_is_cut() {
        let head = b"HTTP/1.1 200 OK\r\nX: \r\n\r\n";
        let all = [&head[..], b"more\r\n\r\n"].concat();
        for cut in 0..head.len() {
            assert_eq!(taken(&all[..cut], &all[cut..]), head.len() - cut, "cut at {cut}");
        }
        assert_eq!(taken(b"HTTP/1.1 2", b"00 OK\r\n\r"), 8);
    }

    proptest! {
        #[test]
        fn no_more_is_taken_than_is_there(
            head in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), any::<u8>()], 0..20),
            ahead in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), any::<u8>()], 1..20),
        ) {
            prop_assume!(!head.windows(4).any(|window| window == HEAD_END));
            let taken = taken(&head, &ahead);
            prop_assert!((1..=ahead.len()).contains(&taken));
            let _ = status(&[head, ahead].concat());
        }
    }
}
