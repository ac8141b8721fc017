//! One request and the head of its answer.

use std::{future::poll_fn, task::Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tokio::io::AsyncWriteExt;

use super::{ExchangeError, head, head::Head};
use crate::{
    streams::{
        BodyError,
        http1::{AnswerBody, Http1Connection, MessageError, Sending, announced_trailers},
    },
    upstream::OnInterim,
};

/// An exchange that came to no answer.
pub(in crate::upstream) struct Failed<B> {
    pub(in crate::upstream) error: ExchangeError,
    /// The request, if it is whole and nothing of an answer has come: an origin may close a kept
    /// connection just as it is used again.
    pub(in crate::upstream) request: Option<Request<B>>,
}

/// Sends `request` over `connection` and waits for the head of its answer; `interim` is told what
/// comes before it.
pub(in crate::upstream) async fn exchange<B>(
    mut connection: Http1Connection,
    request: Request<B>,
    interim: &dyn OnInterim,
) -> Result<Response<AnswerBody>, Failed<B>>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    let has_body = !request.body().is_end_stream();
    let written = head::write(&request, has_body);
    let method = request.method().clone();
    let kept = if has_body {
        let length = head::length(request.headers());
        let trailers = announced_trailers(request.headers());
        let body = request.into_body();
        connection.set_sending(Sending::start(
            connection.writer(),
            written,
            body,
            length,
            trailers,
        ));
        None
    } else {
        // An origin that closes may have said why before: the answer is read in any case.
        let mut writer = connection.writer();
        if writer.write_all(&written).await.is_ok() {
            let _ = writer.flush().await;
        }
        Some(request)
    };
    let mut answer = Answer { connection, has_begun: false };
    match answer.head(&method, interim).await {
        Ok(Head { response, framing, keeps }) => {
            Ok(response.map(|()| AnswerBody::new(answer.connection, framing, keeps)))
        }
        Err(error) => Err(Failed { error, request: kept.filter(|_| !answer.has_begun) }),
    }
}

struct Answer {
    connection: Http1Connection,
    has_begun: bool,
}

impl Answer {
    async fn head(
        &mut self,
        method: &Method,
        interim: &dyn OnInterim,
    ) -> Result<Head, ExchangeError> {
        let mut looked_at = 0;
        loop {
            match head::take(self.connection.unread(), &mut looked_at, method)? {
                Some(Head { response, .. }) if is_interim(response.status()) => {
                    interim.tell(response.status(), response.headers());
                }
                Some(head) => return Ok(head),
                None => self.read_more().await?,
            }
        }
    }

    async fn read_more(&mut self) -> Result<(), ExchangeError> {
        let connection = &mut self.connection;
        let read = poll_fn(|cx| {
            if let Some(sending) = connection.sending()
                && let Poll::Ready(error) = sending.poll_broken(cx)
            {
                return Poll::Ready(Err(ExchangeError::Request(error)));
            }
            connection.poll_fill(cx).map_err(|error| MessageError::Read(error).into())
        });
        if read.await? == 0 {
            return Err(MessageError::Incomplete.into());
        }
        self.has_begun = true;
        Ok(())
    }
}

/// Whether another answer follows: 101 is the last that is HTTP.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}
