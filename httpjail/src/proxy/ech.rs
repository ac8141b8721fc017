//! Clients that mean it with Encrypted Client Hello.
//!
//! Nobody can tell them from those that only pretend (GREASE) until the end of the handshake: they
//! were shown a certificate for the outer name, and break off with an alert of its own.

use std::{
    error::Error,
    io,
    time::{Duration, Instant},
};

use rustls::AlertDescription;

use crate::policy::Seldom;

const PAUSE: Duration = Duration::from_secs(60);

/// Tells the user, now and then.
pub(super) struct Notice(Seldom);

impl Default for Notice {
    fn default() -> Self {
        Self(Seldom::every(PAUSE))
    }
}

impl Notice {
    /// A client broke off.
    pub(super) fn refused(&self) {
        if self.0.is_due(Instant::now()) {
            tracing::warn!(
                "TLS refused: a program insists on Encrypted Client Hello, which hides the name of \
                 its server"
            );
        }
    }

    /// A hello to a host of `--passthrough` may be meant for another.
    pub(super) fn intercepted(&self) {
        if self.0.is_due(Instant::now()) {
            tracing::warn!(
                "TLS is intercepted in spite of --passthrough: its hello has Encrypted Client Hello, \
                 which may hide the name of another server"
            );
        }
    }
}

/// Whether a connection ended since its client insists on Encrypted Client Hello.
pub(super) fn is_insisted_on(error: &(dyn Error + 'static)) -> bool {
    let alert = rustls::Error::AlertReceived(AlertDescription::EncryptedClientHelloRequired);
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) == Some(&alert) {
            return true;
        }
        next = error.source();
    }
    false
}
