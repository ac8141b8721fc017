//! What a connection turns into when its HTTP has ended in an agreement.

use std::{pin::Pin, rc::Rc};

use super::{
    buffers::Buffers,
    connection::{Destination, dispatch},
    opaque::{BROKEN, OVER_LIMIT},
    relay::{End, Relayed, relay},
    stream::{Boxed, Stream},
    unjudged,
    websocket::Agreed,
    worker::Worker,
};
use crate::{policy::Authority, record::Fault};

/// What the last answer on a connection has agreed to.
pub(super) enum Turn {
    /// A CONNECT's target: what follows is judged anew.
    Connect(Authority),
    /// A WebSocket: what follows is opaque.
    WebSocket(Agreed),
}

impl Turn {
    /// Serves what follows on `stream`. Boxed, as few connections come to this, and as a tunnel's
    /// inside is served like a connection.
    pub(super) fn carry_out<S: Stream + 'static>(
        self,
        worker: &Rc<Worker>,
        destination: &Destination,
        stream: S,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        match self {
            Self::Connect(target) => {
                let inside = destination.connected_to(target, &*worker.names);
                let stream: Boxed = Box::new(stream);
                Box::pin(dispatch(Rc::clone(worker), inside, stream))
            }
            Self::WebSocket(agreed) => Box::pin(join(agreed, stream, Rc::clone(&worker.buffers))),
        }
    }

    /// The connection ended before anything could follow.
    pub(super) fn fall_through(self, worker: &Worker, destination: &Destination) {
        match self {
            Self::Connect(target) => {
                let inside = destination.connected_to(target, &*worker.names);
                unjudged::nothing_asked(worker, &inside);
            }
            // It is recorded as what it was judged as.
            Self::WebSocket(_) => {}
        }
    }
}

async fn join<S: Stream>(mut agreed: Agreed, mut stream: S, buffers: Rc<Buffers>) {
    let exchange = &agreed.exchange;
    let relayed = relay(&mut stream, &mut agreed.origin, agreed.left, &buffers, exchange).await;
    let Relayed { sent, received, end } = relayed;
    tracing::debug!(sent, received, ?end, "a WebSocket ended");
    match end {
        // A WebSocket says by itself when it is over, and many servers leave it at that.
        End::Orderly | End::Unannounced(_) => exchange.complete(),
        End::Broken(fault) => exchange.blame(fault, || BROKEN.to_owned()),
        End::OverLimit => exchange.blame(Fault::Jailed, || OVER_LIMIT.to_owned()),
    }
    drop(agreed);
    super::serve::linger(&mut stream).await;
}
