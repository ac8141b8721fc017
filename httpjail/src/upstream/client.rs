//! Sends requests to origins, over idle connections where there are any.

use std::{error::Error, rc::Rc, sync::Arc, time::Duration};

use hyper::{
    Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    rt,
};
use hyper_util::rt::TokioIo;
use tokio::{task::spawn_local, time::interval};

use super::{Lease, Origin, Route, UpstreamError, ViaError, dial::Connection, pool::Pool};

const SWEEP: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 512;
const MAX_BUFFER: usize = 512 * 1024;

/// One worker thread's client. `B` is the body of the requests that it sends.
pub(crate) struct Client<B> {
    route: Arc<Route>,
    pool: Rc<Pool<B>>,
    http: http1::Builder,
}

impl<B> Client<B>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// A client without connections. Must be called on the worker's runtime.
    pub(crate) fn new(route: Arc<Route>) -> Self {
        let mut http = http1::Builder::new();
        http.max_headers(MAX_HEADERS).max_buf_size(MAX_BUFFER);
        let pool = Rc::new(Pool::new());
        spawn_local(sweep_regularly(Rc::clone(&pool)));
        Self { route, pool, http }
    }

    /// A client has begun to speak TLS, and will soon ask for something: gets ready for it.
    pub(crate) fn expect_tls(&self) {
        if !self.route.has_roots() {
            let route = Arc::clone(&self.route);
            spawn_local(async move { route.read_roots().await });
        }
    }

    /// Sends `request` to `origin` and waits for the head of the answer.
    ///
    /// An origin may close an idle connection just as it is used again. A request that wasn't
    /// sent then goes over another one; of one that may have been, its `copy` does, where there is
    /// one: the caller gives copies only of requests that may be sent twice.
    pub(crate) async fn send(
        &self,
        origin: Origin,
        mut request: Request<B>,
        copy: impl Fn(&Request<B>) -> Option<Request<B>>,
    ) -> Result<(Response<Incoming>, Lease<B>), UpstreamError> {
        if let Some(proxy) = self.route.forwarder(&origin) {
            proxy.address(&mut request, &origin);
        }
        while let Some(mut sender) = self.pool.take(&origin).await {
            let again = copy(&request);
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => return self.answered(origin, sender, response),
                Err(error) => error,
            };
            request = match error.take_message().or(again) {
                Some(again) => again,
                None => return Err(failed(&origin, error.into_error())),
            };
        }
        let mut sender = self.connect(&origin).await?;
        match sender.send_request(request).await {
            Ok(response) => self.answered(origin, sender, response),
            Err(error) => Err(failed(&origin, error)),
        }
    }

    fn answered(
        &self,
        origin: Origin,
        sender: SendRequest<B>,
        response: Response<Incoming>,
    ) -> Result<(Response<Incoming>, Lease<B>), UpstreamError> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(UpstreamError::Switched(origin.authority.host().clone()));
        }
        let wants_credentials = response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        if wants_credentials && self.route.forwarder(&origin).is_some() {
            return Err(ViaError::Credentials.into());
        }
        Ok((response, self.lease(origin, sender)))
    }

    pub(super) fn lease(&self, origin: Origin, sender: SendRequest<B>) -> Lease<B> {
        Lease::new(Rc::clone(&self.pool), origin, sender)
    }

    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    pub(super) fn http(&self) -> &http1::Builder {
        &self.http
    }

    async fn connect(&self, origin: &Origin) -> Result<SendRequest<B>, UpstreamError> {
        match self.route.dial(origin).await? {
            Connection::Plain(stream) | Connection::Forwarded(stream) => {
                self.start(origin, TokioIo::new(stream)).await
            }
            Connection::Tls(stream) => self.start(origin, TokioIo::new(stream)).await,
        }
    }

    async fn start<T>(&self, origin: &Origin, io: T) -> Result<SendRequest<B>, UpstreamError>
    where
        T: rt::Read + rt::Write + Unpin + 'static,
    {
        let (sender, connection) =
            self.http.handshake(io).await.map_err(|error| failed(origin, error))?;
        spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an upstream connection ended");
            }
        });
        Ok(sender)
    }
}

pub(super) fn failed(origin: &Origin, source: hyper::Error) -> UpstreamError {
    UpstreamError::Http { host: origin.authority.host().clone(), source }.plainly()
}

async fn sweep_regularly<B>(pool: Rc<Pool<B>>) {
    let mut ticks = interval(SWEEP);
    loop {
        ticks.tick().await;
        pool.sweep();
    }
}
