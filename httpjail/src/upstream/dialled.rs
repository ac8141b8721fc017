//! How long a request waited for its connection.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// The time that went into new connections for one request; none where an open one served.
#[derive(Debug, Default)]
pub(crate) struct Dial(Cell<Option<Duration>>);

impl Dial {
    /// Does `dialling`, and takes note of how long that takes.
    pub(super) async fn time<T>(&self, dialling: impl Future<Output = T>) -> T {
        let since = Instant::now();
        let dialled = dialling.await;
        self.0.set(Some(self.0.get().unwrap_or_default() + since.elapsed()));
        dialled
    }

    /// How long it took, if a connection was made.
    pub(crate) fn took(&self) -> Option<Duration> {
        self.0.get()
    }
}
