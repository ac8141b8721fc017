//! Two connections joined: what comes on one goes out on the other, unread by anybody.
//!
//! A direction reads no more until what it has read is written, and holds no buffer while there is
//! nothing to write.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{io::ReadBuf, time::sleep};

use super::stream::Stream;

/// How much is read at once: what one TLS record holds.
const PIECE: usize = 16 * 1024;
/// How long one direction may stay open and silent after the other has ended.
const HALF_OPEN: Duration = Duration::from_secs(5 * 60);

/// What came of a tunnel.
#[derive(Debug)]
pub(super) struct Tally {
    /// Bytes that were written to the origin.
    pub(super) to_origin: u64,
    /// Bytes that were written to the client.
    pub(super) to_client: u64,
    /// How it ended.
    pub(super) end: End,
}

/// How a tunnel ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// Both sides have ended.
    #[error("both sides closed it")]
    Closed,
    /// The client has sent as much as it may.
    #[error("the client has sent as much as it may")]
    Limit,
    /// One side has ended, and the other kept silent.
    #[error("one side closed it, and the other kept silent")]
    HalfOpen,
    /// One side broke.
    #[error("it broke: {0}")]
    Broken(#[from] io::Error),
}

/// Joins `client` to `origin` until both have ended, of which the origin is sent at most `limit`
/// bytes. How long the two say nothing makes no difference.
pub(super) async fn join<C, O>(client: &mut C, origin: &mut O, limit: Option<u64>) -> Tally
where
    C: Stream,
    O: Stream,
{
    let mut up = Direction { left: limit, ..Direction::default() };
    let mut down = Direction::default();
    let end = loop {
        // Made anew whenever something has moved.
        let moved = (up.moved, down.moved);
        let mut patience = pin!(sleep(HALF_OPEN));
        let event = poll_fn(|cx| {
            let (up_end, down_end) = (up.poll(cx, client, origin), down.poll(cx, origin, client));
            let event = match (up_end, down_end) {
                (Poll::Ready(Err(end)), _) | (_, Poll::Ready(Err(end))) => Some(end),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Some(End::Closed),
                (Poll::Pending, Poll::Pending) => return Poll::Pending,
                (Poll::Ready(Ok(())), Poll::Pending) | (Poll::Pending, Poll::Ready(Ok(()))) => None,
            };
            match event {
                Some(end) => Poll::Ready(Some(end)),
                None if (up.moved, down.moved) != moved => Poll::Ready(None),
                None => patience.as_mut().poll(cx).map(|()| Some(End::HalfOpen)),
            }
        });
        if let Some(end) = event.await {
            break end;
        }
    };
    Tally { to_origin: up.moved, to_client: down.moved, end }
}

/// One direction.
#[derive(Default)]
struct Direction {
    /// Read and not yet written, from `start` on.
    pending: Vec<u8>,
    start: usize,
    moved: u64,
    /// How much may still be read; what is beyond ends the tunnel.
    left: Option<u64>,
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Reading,
    /// Something was written that may not be out.
    Unflushed,
    /// The limit was passed: what is pending is the last.
    Passed,
    /// The reader's side has ended.
    Ended,
    Shut,
}

impl Direction {
    /// Moves what can be moved. Ready when this direction has ended in order.
    fn poll<F, T>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
    ) -> Poll<Result<(), End>>
    where
        F: Stream,
        T: Stream,
    {
        loop {
            ready!(self.poll_write(cx, to))?;
            match self.state {
                State::Shut => return Poll::Ready(Ok(())),
                State::Ended => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Shut;
                }
                State::Passed => {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    return Poll::Ready(Err(End::Limit));
                }
                State::Reading | State::Unflushed => {
                    if self.poll_read(cx, from, to)?.is_pending() {
                        return self.poll_flush(cx, to);
                    }
                }
            }
        }
    }

    /// Writes what is pending.
    fn poll_write<T: Stream>(&mut self, cx: &mut Context<'_>, to: &mut T) -> Poll<Result<(), End>> {
        while let Some(rest) = self.pending.get(self.start..).filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(End::Broken(io::ErrorKind::WriteZero.into())));
            }
            self.wrote(written);
            self.start += written;
        }
        (self.pending, self.start) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Reads a piece, and writes at once what goes.
    fn poll_read<F, T>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut F,
        to: &mut T,
    ) -> Result<Poll<()>, End>
    where
        F: Stream,
        T: Stream,
    {
        let mut piece = [const { MaybeUninit::uninit() }; PIECE];
        let mut piece = ReadBuf::uninit(&mut piece);
        match Pin::new(from).poll_read(cx, &mut piece) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(read) => read?,
        }
        let read = piece.filled();
        if read.is_empty() {
            self.state = State::Ended;
            return Ok(Poll::Ready(()));
        }
        let kept = self.take_from_limit(read);
        let written = match Pin::new(to).poll_write(cx, kept) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.wrote(written);
        self.pending = kept.get(written..).unwrap_or_default().to_vec();
        if kept.len() < read.len() {
            self.state = State::Passed;
        }
        Ok(Poll::Ready(()))
    }

    fn take_from_limit<'a>(&mut self, read: &'a [u8]) -> &'a [u8] {
        let Some(left) = &mut self.left else { return read };
        let fits = usize::try_from(*left).map_or(read.len(), |left| left.min(read.len()));
        *left -= fits as u64;
        &read[..fits]
    }

    fn wrote(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        if self.state == State::Reading {
            self.state = State::Unflushed;
        }
    }

    /// There is nothing more to read for now: what was written goes out.
    fn poll_flush<T: Stream>(&mut self, cx: &mut Context<'_>, to: &mut T) -> Poll<Result<(), End>> {
        if self.state == State::Unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.state = State::Reading;
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        runtime::Builder,
    };

    use super::*;

    /// A client's and an origin's end of a tunnel with little room in its connections.
    fn ends() -> ((DuplexStream, DuplexStream), (DuplexStream, DuplexStream)) {
        (duplex(1000), duplex(1000))
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(test)
    }

    fn pattern(length: u32) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn both_directions_come_whole_and_are_counted() {
        run(async {
            let ((client, mut inner_client), (origin, mut inner_origin)) = ends();
            let (mut client_reads, mut client_writes) = tokio::io::split(client);
            let (mut origin_reads, mut origin_writes) = tokio::io::split(origin);
            let (sent, answered) = (pattern(100_003), pattern(70_001));
            let (mut seen, mut back) = (Vec::new(), Vec::new());
            let (tally, ..) = tokio::join!(
                join(&mut inner_client, &mut inner_origin, None),
                async {
                    client_writes.write_all(&sent).await.unwrap();
                    client_writes.shutdown().await.unwrap();
                },
                async { client_reads.read_to_end(&mut back).await.unwrap() },
                async { origin_reads.read_to_end(&mut seen).await.unwrap() },
                async {
                    origin_writes.write_all(&answered).await.unwrap();
                    origin_writes.shutdown().await.unwrap();
                },
            );
            assert!(seen == sent && back == answered);
            assert!(matches!(tally.end, End::Closed), "{tally:?}");
            assert_eq!((tally.to_origin, tally.to_client), (100_003, 70_001));
        });
    }

    #[test]
    fn an_end_is_passed_on_while_the_other_direction_goes_on() {
        run(async {
            let ((mut client, mut inner_client), (mut origin, mut inner_origin)) = ends();
            let (tally, ()) =
                tokio::join!(join(&mut inner_client, &mut inner_origin, None), async {
                    client.write_all(b"question").await.unwrap();
                    client.shutdown().await.unwrap();
                    let mut question = String::new();
                    origin.read_to_string(&mut question).await.unwrap();
                    assert_eq!(question, "question");
                    // Longer than a silent tunnel stays half open, but never silent for so long.
                    for _ in 0..3 {
                        sleep(HALF_OPEN / 2).await;
                        origin.write_all(b"x").await.unwrap();
                        assert_eq!(client.read_u8().await.unwrap(), b'x');
                    }
                    drop(origin);
                });
            assert!(matches!(tally.end, End::Closed), "{tally:?}");
            assert_eq!((tally.to_origin, tally.to_client), (8, 3));
        });
    }

    #[test]
    fn silence_ends_a_tunnel_only_when_one_side_has_ended() {
        run(async {
            let ((mut client, mut inner_client), (mut origin, mut inner_origin)) = ends();
            let (tally, ()) =
                tokio::join!(join(&mut inner_client, &mut inner_origin, None), async {
                    sleep(HALF_OPEN * 100).await;
                    origin.write_all(b"x").await.unwrap();
                    assert_eq!(client.read_u8().await.unwrap(), b'x');
                    client.shutdown().await.unwrap();
                });
            assert!(matches!(tally.end, End::HalfOpen), "{tally:?}");
        });
    }

    #[test]
    fn the_limit_ends_the_tunnel_behind_the_last_byte_that_may_go() {
        run(async {
            let ((mut client, mut inner_client), (mut origin, mut inner_origin)) = ends();
            client.write_all(b"0123456789").await.unwrap();
            let (tally, ()) =
                tokio::join!(join(&mut inner_client, &mut inner_origin, Some(10)), async {
                    // As much as may go is no reason to end.
                    sleep(HALF_OPEN * 2).await;
                    client.write_all(b"x").await.unwrap();
                });
            assert!(matches!(tally.end, End::Limit), "{tally:?}");
            drop(inner_origin);
            let mut seen = String::new();
            origin.read_to_string(&mut seen).await.unwrap();
            assert_eq!(seen, "0123456789");
        });
    }

    #[test]
    fn nothing_is_read_ahead_of_a_side_that_does_not_read() {
        run(async {
            let ((mut client, mut inner_client), (origin, mut inner_origin)) = ends();
            let flood = async {
                let mut written = 0;
                loop {
                    written += client.write(&[0; 100]).await.unwrap();
                    assert!(written < 10 * PIECE, "the tunnel swallows everything");
                }
            };
            tokio::select! {
                tally = join(&mut inner_client, &mut inner_origin, None) => panic!("{tally:?}"),
                () = flood => {}
                () = sleep(HALF_OPEN * 2) => {}
            }
            drop(origin);
        });
    }
}
