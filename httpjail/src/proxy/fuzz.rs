//! What the proxy's own parsers promise for any bytes.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use super::http1::fuzz::request;
use super::{
    frames::Scanner,
    hello::has_extension,
    intercept::asked_for,
    sniff::{self, Protocol},
};
use crate::policy::{AuthorityError, Host};

/// The extension that holds a server name.
const SERVER_NAME: u16 = 0;
/// About how many prefixes of long inputs are looked at.
const PREFIXES: usize = 256;

/// Holds a verdict about `bytes` to stand from the first prefix that has one.
pub fn sniff(bytes: &[u8]) {
    let mut verdict = Protocol::NeedMore;
    let ends = (0..bytes.len()).step_by(1 + bytes.len() / PREFIXES).chain([bytes.len()]);
    for end in ends {
        let next = sniff::sniff(&bytes[..end]);
        assert!(verdict == Protocol::NeedMore || verdict == next, "{verdict:?}, then {next:?}");
        verdict = next;
    }
    if verdict == Protocol::Tls {
        assert_eq!(bytes[..2], [0x16, 3], "no handshake record");
    }
    if verdict == Protocol::Http1 {
        assert!(bytes.contains(&b'\n'), "no whole line");
    }
}

/// What a client's first bytes came to.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    More,
    Refused,
    Hello(Option<Result<Host, AuthorityError>>),
}

/// Holds the hello at the start of `bytes` to say the same however it is cut, and to ask for a
/// canonical host.
pub fn client_hello(bytes: &[u8]) {
    let whole = hear(bytes, bytes.len().max(1));
    for size in [1 + bytes.len() / PREFIXES, 1 + bytes.len() / 3] {
        assert_eq!(hear(bytes, size), whole, "in pieces of {size}");
    }
    if let Heard::Hello(host) = whole {
        assert_ne!(sniff::sniff(bytes), Protocol::NeedMore, "the protocol isn't told yet");
        assert!(host.is_none() || has_extension(bytes, SERVER_NAME) == Some(true), "two readers");
        if let Some(Ok(host)) = host {
            assert_eq!(Host::parse(&host.to_string()), Ok(host));
        }
    }
}

fn hear(bytes: &[u8], size: usize) -> Heard {
    let mut acceptor = Acceptor::default();
    for mut piece in bytes.chunks(size) {
        while !piece.is_empty() {
            if !matches!(acceptor.read_tls(&mut piece), Ok(1..)) {
                return Heard::Refused;
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => return Heard::Hello(asked_for(&accepted.client_hello())),
                Err(_) => return Heard::Refused,
            }
        }
    }
    Heard::More
}

/// Holds the count of requests in `bytes`, which follow a preface of HTTP/2, to be the same however
/// they are cut, and the library to hand out none that isn't counted.
pub fn http2_frames(bytes: &[u8]) {
    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes].concat();
    let count = |size| {
        let mut scanner = Scanner::new();
        bytes.chunks(size).for_each(|piece| scanner.read(piece));
        (scanner.whole(), scanner.has_begun_another())
    };
    let whole = count(bytes.len());
    for size in [1, 7, 1 + bytes.len() / 3] {
        assert_eq!(count(size), whole, "in pieces of {size}");
    }
    let taken = requests(Said(&bytes));
    assert!(taken <= whole.0, "{taken} requests, and only {} counted", whole.0);
}

/// How many requests the library hands out.
fn requests(said: Said<'_>) -> u64 {
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(mut connection)) = pin!(h2::server::handshake(said)).poll(&mut context)
    else {
        return 0;
    };
    let mut count = 0;
    let mut held = Vec::new();
    while let Poll::Ready(Some(Ok(request))) = connection.poll_accept(&mut context) {
        count += 1;
        held.push(request);
    }
    count
}

/// A client that has said all this, and now waits.
struct Said<'a>(&'a [u8]);

impl AsyncRead for Said<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.is_empty() {
            return Poll::Pending;
        }
        let (now, rest) = self.0.split_at(self.0.len().min(buf.remaining()));
        buf.put_slice(now);
        self.0 = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Said<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
