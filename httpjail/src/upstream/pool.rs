//! Idle connections to origins, kept by one worker thread.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::task::spawn_local;

use super::http2::Place;
use crate::{
    policy::{Authority, Scheme},
    streams::{Arriving, http1::Http1Connection},
};

/// Below the 75 s after which common servers close: a connection is seldom closed just as it is
/// used again.
const IDLE: Duration = Duration::from_secs(60);
const MOST_IDLE: usize = 1024;
/// How long an origin that has answered may take nothing of the rest of the request.
const STALL: Duration = Duration::from_secs(10);

/// Where a connection leads. Connections are shared between requests of the same origin alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// Plain or inside TLS.
    pub(crate) scheme: Scheme,
    /// The judged host and port.
    pub(crate) authority: Authority,
}

/// The idle connections.
#[derive(Default)]
pub(super) struct Pool {
    idle: RefCell<HashMap<Origin, Vec<Idle>>>,
    count: Cell<usize>,
}

struct Idle {
    connection: Http1Connection,
    since: Instant,
}

impl Idle {
    fn is_good(&self) -> bool {
        self.since.elapsed() < IDLE && self.connection.is_quiet()
    }
}

impl Pool {
    /// Takes the connection to `origin` that was used last and is still good.
    pub(super) fn take(&self, origin: &Origin) -> Option<Http1Connection> {
        let mut all = self.idle.borrow_mut();
        let idle = all.get_mut(origin)?;
        while let Some(last) = idle.pop() {
            self.count.set(self.count.get() - 1);
            if last.is_good() {
                return Some(last.connection);
            }
        }
        None
    }

    fn put(&self, origin: Origin, connection: Http1Connection) {
        if self.count.get() >= MOST_IDLE {
            return;
        }
        self.count.set(self.count.get() + 1);
        let idle = Idle { connection, since: Instant::now() };
        self.idle.borrow_mut().entry(origin).or_default().push(idle);
    }

    /// Closes what has been idle for too long or was closed by the origin.
    pub(super) fn sweep(&self) {
        let mut left = 0;
        self.idle.borrow_mut().retain(|_, connections| {
            connections.retain(Idle::is_good);
            left += connections.len();
            !connections.is_empty()
        });
        self.count.set(left);
    }
}

/// What must be given back when an answer has been read. Dropped, the connection is closed, or over
/// HTTP/2 the stream.
pub(crate) enum Lease {
    /// The connection that the answer's body holds.
    Http1(Home),
    /// One that no other request may use.
    Unshared,
    /// One of many places on a connection.
    Http2(Place),
}

/// Where a connection goes for the next request.
pub(crate) struct Home {
    pool: Rc<Pool>,
    origin: Origin,
}

impl Home {
    /// Puts a connection back, as soon as the end of the request is out: the answer may have come
    /// before that.
    fn take_back(self, connection: Http1Connection) {
        if connection.sending().is_some_and(|sending| !sending.is_over()) {
            spawn_local(async move {
                if let Some(sending) = connection.sending() {
                    sending.ended(STALL).await;
                }
                self.put(connection);
            });
        } else {
            self.put(connection);
        }
    }

    fn put(self, mut connection: Http1Connection) {
        if connection.settle() {
            self.pool.put(self.origin, connection);
        }
    }
}

impl Lease {
    pub(super) fn of_connection(pool: Rc<Pool>, origin: Origin) -> Self {
        Self::Http1(Home { pool, origin })
    }

    /// Puts the connection back: `answer` has come to its end.
    pub(crate) fn finish(self, answer: Arriving) {
        match (self, answer) {
            (Self::Http1(home), Arriving::Answer(answer)) => {
                if let Some(connection) = answer.into_connection() {
                    home.take_back(connection);
                }
            }
            (Self::Http2(place), _) => drop(place),
            _ => {}
        }
    }
}
