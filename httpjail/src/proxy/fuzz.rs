//! What the proxy's own parsers promise for any bytes.

use rustls::server::Acceptor;

use super::{
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
