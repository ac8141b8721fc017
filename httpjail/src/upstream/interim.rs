//! Interim answers (1xx), from origins of either version of HTTP.

use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};

type Tell = dyn Fn(StatusCode, &HeaderMap) + Send + Sync;

/// Is told of a request's interim answers over HTTP/2.
#[derive(Clone)]
pub(super) struct OnInterim(Arc<Tell>);

impl OnInterim {
    pub(super) fn tell(&self, status: StatusCode, headers: &HeaderMap) {
        (self.0)(status, headers);
    }
}

/// Has `tell` told of the interim answers to `request`, whichever version of HTTP the origin turns
/// out to speak.
pub(crate) fn on_interim<B>(
    request: &mut Request<B>,
    tell: impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static,
) {
    let tell = OnInterim(Arc::new(tell));
    let over_http1 = tell.clone();
    hyper::ext::on_informational(request, move |response| {
        over_http1.tell(response.status(), response.headers());
    });
    request.extensions_mut().insert(tell);
}
