//! Why an origin could not be reached.

use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
};

use rustls::AlertDescription;

use super::{ExchangeError, TrustError, ViaError, ranges::Special};
use crate::{policy::Host, streams::http1::MessageError};

/// A failure to get an answer from an origin. Each fits in one line together with its sources.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The name has no address, or the resolver failed.
    #[error("resolve {host}")]
    Resolve {
        /// What was asked for.
        host: Host,
        /// The resolver's answer.
        #[source]
        source: io::Error,
    },
    /// The resolver took too long.
    #[error("resolve {0}: the resolver does not answer")]
    ResolveTimeout(Host),
    /// The resolver found the name without an address.
    #[error("resolve {0}: it has no address")]
    NoAddress(Host),
    /// All addresses belong to ranges that are closed by default.
    #[error("connect: address {address} is {range}; --allow-private allows it")]
    Private {
        /// The first address.
        address: IpAddr,
        /// Its range.
        range: Special,
    },
    /// No option opens this address.
    #[error("connect: address {address} is {range}")]
    Unusable {
        /// The first address.
        address: IpAddr,
        /// Its range.
        range: Special,
    },
    /// The address is the proxy's own.
    #[error("connect to {0}: it is this proxy itself (loop detected)")]
    Loop(SocketAddr),
    /// No address took the connection.
    #[error("connect to {address}")]
    Connect {
        /// The address that was tried last.
        address: SocketAddr,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// No address answered in time.
    #[error("connect to {0}: no answer in time")]
    ConnectTimeout(Host),
    /// A proxy on the way is none.
    #[error("pass the upstream proxy")]
    Via(#[from] ViaError),
    /// There are no roots to verify with.
    #[error("verify the origin")]
    Trust(#[from] TrustError),
    /// The TLS handshake failed, most often since the certificate doesn't hold.
    #[error("establish TLS with {host}")]
    Tls {
        /// Whose certificate was wanted.
        host: Host,
        /// The TLS library's or the system's answer.
        #[source]
        source: io::Error,
    },
    /// The origin asks for a certificate, and it was shown none.
    #[error("establish TLS with {0}: it wants a client certificate (--client-cert)")]
    WantsCertificate(Host),
    /// The TLS handshake took too long.
    #[error("establish TLS with {0}: no answer in time")]
    TlsTimeout(Host),
    /// The origin closed the connection, or speaks no HTTP/1.
    #[error("get an answer from {host}")]
    Http {
        /// Who was asked.
        host: Host,
        /// What went wrong.
        #[source]
        source: ExchangeError,
    },
    /// The same over HTTP/2.
    #[error("get an answer from {host}")]
    Http2 {
        /// Who was asked.
        host: Host,
        /// The HTTP library's error.
        #[source]
        source: h2::Error,
    },
    /// The origin has not acted on the request, and it can't be sent again from here.
    #[error("get an answer from {0}: it has refused the request unread")]
    Unprocessed(Host),
    /// The origin has answered a request for a WebSocket in a way that would look like its agreement.
    #[error("get an answer from {0}: it has declined the WebSocket")]
    Declined(Host),
    /// The origin changed the protocol unasked, or to another than was asked for.
    #[error("get an answer from {0}: it switched to a protocol that nobody asked for")]
    Switched(Host),
}

impl UpstreamError {
    /// Whether the origin found no version of HTTP among those that it was offered.
    pub(super) fn is_about_the_offer(&self) -> bool {
        let Self::Tls { source, .. } = self else {
            return false;
        };
        let error = source.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        let refused = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        error == Some(&refused)
    }

    /// The same error, or what it comes to where its cause tells.
    ///
    /// An origin with TLS 1.3 refuses a client that shows no certificate only after that takes the
    /// handshake for finished; the refusal then comes in place of an answer.
    pub(super) fn plainly(self) -> Self {
        let (host, cause) = match &self {
            Self::Tls { host, source } => (host, Some(source)),
            Self::Http2 { host, source } => (host, source.get_io()),
            Self::Http { host, source: ExchangeError::Connection(MessageError::Read(cause)) } => {
                (host, Some(cause))
            }
            _ => return self,
        };
        let cause = cause.and_then(io::Error::get_ref);
        let cause = cause.and_then(|cause| cause.downcast_ref::<rustls::Error>());
        let wanted = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        if cause == Some(&wanted) { Self::WantsCertificate(host.clone()) } else { self }
    }

    /// Whether it is httpjail that keeps the request from its origin, or lacks what it needs.
    pub(crate) fn is_our_own(&self) -> bool {
        match self {
            Self::Private { .. } | Self::Unusable { .. } | Self::Loop(_) | Self::Trust(_) => true,
            Self::Resolve { .. }
            | Self::ResolveTimeout(_)
            | Self::NoAddress(_)
            | Self::Connect { .. }
            | Self::ConnectTimeout(_)
            | Self::Via(_)
            | Self::Tls { .. }
            | Self::WantsCertificate(_)
            | Self::TlsTimeout(_)
            | Self::Http { .. }
            | Self::Http2 { .. }
            | Self::Unprocessed(_)
            | Self::Declined(_)
            | Self::Switched(_) => false,
        }
    }

    /// The error and its causes in one line, without repetition.
    pub(crate) fn in_one_line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            cause = error.source();
        }
        line.replace(char::is_control, " ")
    }
}
