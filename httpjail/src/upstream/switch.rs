//! Requests after whose answer a connection speaks another protocol.

use hyper::{
    Request, Response, StatusCode,
    body::{Body, Bytes},
    client::conn::http1::SendRequest,
    rt,
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use super::{Client, Lease, Origin, UpstreamError, client::failed, dial::Connection, trust::Offer};
use crate::streams::{Arriving, BodyError};

/// What an origin said to the wish for another protocol.
pub(crate) enum Switch<B> {
    /// An ordinary answer.
    Declined(Response<Arriving>, Lease<B>),
    /// A 101, and the connection behind it.
    Done(Response<()>, Upgraded),
}

impl<B> Client<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    /// Sends a request that asks for another protocol, over a connection of its own.
    pub(crate) async fn switch(
        &self,
        origin: Origin,
        request: Request<B>,
    ) -> Result<Switch<B>, UpstreamError> {
        // Proxies that take requests one by one seldom pass such a one on.
        let is_forwarded = self.route().forwarder(&origin).is_some();
        let mut sender = match self.route().dial_through(&origin, Offer::Http1).await? {
            Connection::Plain(stream) | Connection::Forwarded(stream) => {
                self.start_switchable(&origin, stream).await
            }
            Connection::Tls(stream) => self.start_switchable(&origin, stream).await,
        }?;
        let asked = sender.send_request(request).await;
        let mut response = asked.map_err(|error| failed(&origin, error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // Other requests to this origin are written for the proxy.
            let lease = match is_forwarded {
                true => Lease::unshared(origin, sender),
                false => self.lease(origin, sender),
            };
            return Ok(Switch::Declined(response.map(Arriving::Http1), lease));
        }
        let switched = hyper::upgrade::on(&mut response).await;
        let upgraded = switched.map_err(|error| failed(&origin, error))?;
        Ok(Switch::Done(response.map(drop), upgraded))
    }

    async fn start_switchable<T>(
        &self,
        origin: &Origin,
        stream: T,
    ) -> Result<SendRequest<B>, UpstreamError>
    where
        TokioIo<T>: rt::Read + rt::Write,
        T: Unpin + Send + 'static,
    {
        let handshake = self.http().handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| failed(origin, error))?;
        spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "an upstream connection ended");
            }
        });
        Ok(sender)
    }
}
