//! Sends a request that has a body, while somebody else waits for its answer.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName};
use http_body::Body;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    task::{JoinHandle, spawn_local},
    time::timeout,
};

use crate::streams::BodyError;

/// How the origin is told where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// It has so many bytes.
    Known(u64),
    /// It goes in chunks (RFC 9112, 7.1).
    Chunked,
}

/// A request on its way out. Dropped, it stays where it is.
pub(crate) struct Sending {
    task: JoinHandle<()>,
    progress: Rc<RefCell<Progress>>,
}

#[derive(Default)]
struct Progress {
    state: State,
    /// The number of the piece for which room is awaited.
    blocked_at: Option<u64>,
    waker: Option<Waker>,
}

#[derive(Default)]
enum State {
    #[default]
    Underway,
    /// All of it is out.
    Over,
    /// The connection takes no more of it. The origin may have said why before it closed.
    Refused,
    /// The body broke off.
    Broken(BodyError),
}

/// Why a body isn't out.
enum Failed {
    Write,
    Body(BodyError),
}

impl Sending {
    /// Sends `head` and the `body` behind it; `trailers` may follow a body in chunks.
    pub(crate) fn start<W, B>(
        writer: W,
        head: Vec<u8>,
        body: B,
        length: Length,
        trailers: Vec<HeaderName>,
    ) -> Self
    where
        W: AsyncWrite + Unpin + 'static,
        B: Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
    {
        let progress = Rc::<RefCell<Progress>>::default();
        let told = Rc::clone(&progress);
        let task = spawn_local(async move {
            let progress = Rc::clone(&told);
            let mut request =
                Request { writer, ahead: head, length, trailers, pieces: 0, progress };
            let outcome = request.send(body).await;
            let mut progress = told.borrow_mut();
            progress.state = match outcome {
                Ok(()) => State::Over,
                Err(Failed::Write) => State::Refused,
                Err(Failed::Body(error)) => State::Broken(error),
            };
            if let Some(waker) = progress.waker.take() {
                waker.wake();
            }
        });
        Self { task, progress }
    }

    /// Whether all of it is out.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.progress.borrow().state, State::Over)
    }

    /// Waits until nothing of it goes out any more, or until the origin has taken nothing of it for
    /// as long as `patience`.
    pub(crate) async fn ended(&self, patience: Duration) {
        let mut written = None;
        while timeout(patience, poll_fn(|cx| self.poll_ended(cx))).await.is_err() {
            let before = std::mem::replace(&mut written, self.progress.borrow().blocked_at);
            if written.is_some() && written == before {
                return;
            }
        }
    }

    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut progress = self.progress.borrow_mut();
        if matches!(progress.state, State::Underway) { progress.wait(cx) } else { Poll::Ready(()) }
    }

    /// Ready when the body has broken off, so that no answer is worth waiting for.
    pub(crate) fn poll_broken(&self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let mut progress = self.progress.borrow_mut();
        if matches!(progress.state, State::Broken(_))
            && let State::Broken(error) = std::mem::replace(&mut progress.state, State::Refused)
        {
            return Poll::Ready(error);
        }
        if matches!(progress.state, State::Underway) { progress.wait(cx) } else { Poll::Pending }
    }
}

impl Progress {
    /// Wakes the task when something has changed.
    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Request<W> {
    writer: W,
    /// What goes out with the next piece.
    ahead: Vec<u8>,
    length: Length,
    trailers: Vec<HeaderName>,
    pieces: u64,
    progress: Rc<RefCell<Progress>>,
}

impl<W: AsyncWrite + Unpin> Request<W> {
    async fn send<B>(&mut self, mut body: B) -> Result<(), Failed>
    where
        B: Body<Data = Bytes, Error = BodyError> + Unpin,
    {
        while let Some(frame) = self.next_frame(&mut body).await? {
            let frame = frame.map_err(Failed::Body)?;
            let is_last = body.is_end_stream();
            let frame = match frame.into_data() {
                Ok(data) if is_last => {
                    // Whoever sends it may go on, however long the last piece takes.
                    drop(body);
                    self.send_piece(data).await?;
                    return self.end(None).await;
                }
                Ok(data) => {
                    self.send_piece(data).await?;
                    continue;
                }
                Err(frame) => frame,
            };
            if let Ok(trailers) = frame.into_trailers() {
                drop(body);
                return self.end(Some(&trailers)).await;
            }
        }
        drop(body);
        self.end(None).await
    }

    /// The next frame. While there is none, what is ahead goes out alone.
    async fn next_frame<B>(
        &mut self,
        body: &mut B,
    ) -> Result<Option<Result<http_body::Frame<Bytes>, BodyError>>, Failed>
    where
        B: Body<Data = Bytes, Error = BodyError> + Unpin,
    {
        if !self.ahead.is_empty() {
            let ready = poll_fn(|cx| {
                Poll::Ready(match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Ready(frame) => Some(frame),
                    Poll::Pending => None,
                })
            });
            if let Some(frame) = ready.await {
                return Ok(frame);
            }
            self.write(Bytes::new(), b"").await?;
        }
        Ok(poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await)
    }

    async fn send_piece(&mut self, data: Bytes) -> Result<(), Failed> {
        match &mut self.length {
            // An empty chunk would be the end.
            _ if data.is_empty() => Ok(()),
            Length::Known(left) => {
                let length = data.len() as u64;
                *left = left.checked_sub(length).ok_or(Failed::Body(BodyError::Length))?;
                self.write(data, b"").await
            }
            Length::Chunked => {
                self.ahead.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                self.write(data, b"\r\n").await
            }
        }
    }

    async fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Failed> {
        match self.length {
            Length::Known(0) => self.write(Bytes::new(), b"").await,
            Length::Known(_) => Err(Failed::Body(BodyError::Length)),
            Length::Chunked => {
                let mut end = b"0\r\n".to_vec();
                let announced = trailers.into_iter().flatten();
                for (name, value) in announced.filter(|(name, _)| self.trailers.contains(name)) {
                    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                        end.extend_from_slice(part);
                    }
                }
                end.extend_from_slice(b"\r\n");
                self.write(end.into(), b"").await
            }
        }
    }

    /// Writes what is ahead, `data` and `behind`, all at once where there is room.
    async fn write(&mut self, data: Bytes, behind: &[u8]) -> Result<(), Failed> {
        let ahead = Bytes::from(std::mem::take(&mut self.ahead));
        let mut all = ahead.chain(data).chain(behind);
        self.pieces += 1;
        self.progress.borrow_mut().blocked_at = Some(self.pieces);
        self.writer.write_all_buf(&mut all).await.map_err(|_| Failed::Write)?;
        // TLS keeps what found no room.
        self.writer.flush().await.map_err(|_| Failed::Write)?;
        self.progress.borrow_mut().blocked_at = None;
        Ok(())
    }
}
