//! What ends before anybody could be asked about it: connections that bring no request, handshakes
//! that fail, requests that contradict themselves. Each has its record, with who is to look for the
//! cause.

use std::{error::Error, fmt::Display, io};

use http::Method;
use rustls::AlertDescription;

use super::{
    coherence::Incoherent,
    connection::{Destination, Reach},
    intercept::{Failure, InterceptError},
    worker::Worker,
};
use crate::{
    policy::{Authority, Scheme},
    record::{Exchange, Fault, Refused},
};

/// A request whose head didn't come in time.
pub(super) const TOO_SLOW: &str = "the request's head did not come in time";
/// A request that the HTTP/2 library refuses by itself.
pub(super) const BROKEN_HTTP2: &str = "the request breaks the rules of HTTP/2";

const DISTRUST: &str = "the program doesn't trust the run's certificate authority: it reads neither \
                        the environment nor the system's stores. Give it the certificate that \
                        $SSL_CERT_FILE names in the jail, or let the server's own through by \
                        --passthrough";
const BROKE_OFF: &str = "the program broke off the TLS handshake; most do so when they don't trust \
                         the run's certificate authority ($SSL_CERT_FILE in the jail, or \
                         --passthrough)";
const HIDDEN: &str = "the program insists on Encrypted Client Hello, which hides the name of its \
                      server";

/// Nothing was said at all. Who opened a tunnel before has asked for something, though.
pub(super) fn never_came(worker: &Worker, destination: &Destination) {
    if destination.reach == Reach::Tunnel {
        nothing_asked(worker, destination);
    }
}

/// The connection ended in order, and no request had come.
pub(super) fn nothing_asked(worker: &Worker, destination: &Destination) {
    let message = match destination.scheme {
        Scheme::Https => {
            "the program ended the connection behind the TLS handshake, without a request; some do \
             so when they don't trust the certificate"
        }
        Scheme::Http | Scheme::Tcp | Scheme::Tls => {
            "the program ended the connection without a request"
        }
    };
    unused(worker, destination, "no-request", &message);
}

/// The connection broke, and no request had come.
pub(super) fn broken_off(
    worker: &Worker,
    destination: &Destination,
    error: &(dyn Error + 'static),
) {
    match alert_in(error).filter(|alert| is_distrust(*alert)) {
        Some(_) => unused(worker, destination, "tls-handshake", &DISTRUST),
        None => unused(
            worker,
            destination,
            "no-request",
            &format_args!("the connection broke before a request: {error}"),
        ),
    }
}

/// The client fell silent, closed or broke off before its protocol could be told.
pub(super) fn unfinished(worker: &Worker, destination: &Destination) {
    let message = "the connection ended or fell silent before its protocol could be told";
    refused(worker, destination, "TCP", "unfinished", &message);
}

/// The TLS handshake failed.
pub(super) fn no_handshake(worker: &Worker, destination: &Destination, failure: &Failure) {
    let error = &failure.error;
    tracing::debug!(%error, "a TLS handshake failed");
    let (fault, message) = match error {
        InterceptError::Leaf(_) => (Fault::Httpjail, format!("failed to {error}")),
        InterceptError::Handshake(source) => (Fault::Jailed, broken_handshake(source)),
        InterceptError::Timeout
        | InterceptError::Hello(_)
        | InterceptError::NoName
        | InterceptError::ServerName(_) => (Fault::Jailed, format!("failed to {error}")),
    };
    worker.recorder.refused_flow(&Refused {
        protocol: "TLS",
        scheme: Scheme::Tls,
        target: &failure.target,
        client: &destination.client,
        reason: "tls-handshake",
        fault,
        message: &message,
    });
}

/// The client insists on what hides its server's name.
pub(super) fn hidden(worker: &Worker, destination: &Destination) {
    worker.ech.refused();
    refused(worker, destination, "TLS", "encrypted-client-hello", &HIDDEN);
}

/// A client of the proxy itself that speaks something else.
pub(super) fn no_protocol(worker: &Worker, destination: &Destination) {
    refused(worker, destination, "TCP", "unfinished", &"the proxy serves HTTP and TLS alone");
}

/// Bytes that are no request, or no whole one.
pub(super) fn unreadable(worker: &Worker, destination: &Destination, why: &dyn Display) {
    refused(worker, destination, "HTTP", "malformed", why);
}

/// A request that could be read and not judged: its record is that of `exchange`.
pub(super) fn incoherent(
    worker: &Worker,
    destination: &Destination,
    exchange: &Exchange,
    method: &Method,
    cause: &Incoherent,
) {
    let Destination { scheme, authority, .. } = destination;
    worker.recorder.refused_line("HTTP", authority);
    exchange.malformed(method.as_str(), *scheme, authority, &cause.to_string());
}

fn broken_handshake(error: &io::Error) -> String {
    match alert_in(error) {
        Some(alert) if is_distrust(alert) => DISTRUST.to_owned(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => BROKE_OFF.to_owned(),
        None if error.kind() == io::ErrorKind::ConnectionReset => BROKE_OFF.to_owned(),
        Some(_) | None => format!("failed to finish the handshake: {error}"),
    }
}

/// The alert that the client has sent, if that is what ended it.
fn alert_in(error: &(dyn Error + 'static)) -> Option<AlertDescription> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(alert)) = inner {
            return Some(*alert);
        }
        next = error.source();
    }
    None
}

fn is_distrust(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            // The authority of another run has the same name, and another key.
            | AlertDescription::DecryptError
    )
}

fn refused(
    worker: &Worker,
    destination: &Destination,
    protocol: &'static str,
    reason: &'static str,
    message: &dyn Display,
) {
    let Destination { scheme, authority, .. } = destination;
    let refused = describe(destination, protocol, *scheme, authority, reason, message);
    worker.recorder.refused_flow(&refused);
}

/// Who opened a tunnel has asked for something, and has a line in the log, too.
fn unused(worker: &Worker, destination: &Destination, reason: &'static str, message: &dyn Display) {
    let Destination { scheme, authority, reach, .. } = destination;
    let protocol = if *scheme == Scheme::Https { "TLS" } else { "TCP" };
    let refused = describe(destination, protocol, *scheme, authority, reason, message);
    match *reach == Reach::Tunnel {
        true => worker.recorder.refused_flow(&refused),
        false => worker.recorder.unused_flow(&refused),
    }
}

fn describe<'a>(
    destination: &'a Destination,
    protocol: &'static str,
    scheme: Scheme,
    target: &'a Authority,
    reason: &'static str,
    message: &'a dyn Display,
) -> Refused<'a> {
    let client = &destination.client;
    Refused { protocol, scheme, target, client, reason, fault: Fault::Jailed, message }
}
