//! What the jailed program is told when a request does not get through.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

use super::{body::Content, coherence::Incoherent, forward::Failure, headers::HTTPJAIL};
use crate::{
    policy::Denial,
    upstream::{ExchangeError, UpstreamError},
};

/// The gate said no.
pub(super) fn denied(denial: Denial) -> Response<Content> {
    let mut text = String::from("Request blocked by httpjail");
    if let Some(message) = denial.message {
        text.push('\n');
        text.push_str(&message);
    }
    response(StatusCode::FORBIDDEN, text)
}

/// The request could not be judged. After one that could be read in two ways nothing is read on
/// its connection; one that only came to the wrong host has done no such harm.
pub(super) fn incoherent(cause: &Incoherent) -> Response<Content> {
    let text = format!("Request refused by httpjail: {cause}\n");
    let mut response = response(cause.status(), text);
    if response.status() != StatusCode::MISDIRECTED_REQUEST {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The request was allowed, and could not be carried out.
pub(super) fn failed(failure: &Failure) -> Response<Content> {
    match failure {
        Failure::TooLarge(_) => response(StatusCode::PAYLOAD_TOO_LARGE, failure.to_string()),
        Failure::Upstream(error) => {
            let text = format!("httpjail failed to {}\n", error.in_one_line());
            let status = match error {
                UpstreamError::Loop(_) => StatusCode::LOOP_DETECTED,
                // Its own body did.
                UpstreamError::Http { source: ExchangeError::Request(_), .. } => {
                    StatusCode::BAD_REQUEST
                }
                _ => StatusCode::BAD_GATEWAY,
            };
            response(status, text)
        }
    }
}

/// Plain text, whatever it says: no browser may read more into it.
fn response(status: StatusCode, text: String) -> Response<Content> {
    let mut response = Response::new(Content::Text(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HTTPJAIL, HeaderValue::from_static("true"));
    response
}
