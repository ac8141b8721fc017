//! Bytes between two connections, unread, both ways at once.
//!
//! A side that ends is ended on the other, which may go on; a side that breaks is told apart from
//! one that ends, so that the other can be broken, too. What is slow to take bytes slows down what
//! sends them: there is one buffer for each direction, and it is read into when it is empty.

use std::{
    future::poll_fn,
    io::ErrorKind,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffers::{Buffer, Buffers, Unsent};
use crate::record::{Exchange, Fault};

/// How many buffers one direction may move before other connections have their turn.
const TURN: usize = 4;

/// What a relay came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Relayed {
    /// Bytes from the client to the server.
    pub(super) sent: u64,
    /// Bytes from the server to the client.
    pub(super) received: u64,
    pub(super) end: End,
}

/// How a relay came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides have said all, and heard it.
    Orderly,
    /// This side broke off.
    Broken(Fault),
    /// This side ended without the word for it that TLS has.
    Unannounced(Fault),
    /// The client had more to say than it may.
    OverLimit,
}

/// Moves bytes between `client` and `server` until both have ended or one breaks; at most `most`
/// go to the server. After another than an orderly end both sides are to be reset. What moves is
/// told to `exchange` as it does.
pub(super) async fn relay<C, S>(
    client: &mut C,
    server: &mut S,
    most: Option<u64>,
    buffers: &Rc<Buffers>,
    exchange: &Exchange,
) -> Relayed
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut out = Direction::new(Way::Out, most, buffers, exchange);
    let mut back = Direction::new(Way::Back, None, buffers, exchange);
    let (mut out_end, mut back_end) = (None, None);
    let end = poll_fn(|cx| {
        if out_end.is_none()
            && let Poll::Ready(end) = out.poll(cx, client, server)
        {
            out_end = Some(end);
        }
        if back_end.is_none()
            && let Poll::Ready(end) = back.poll(cx, server, client)
        {
            back_end = Some(end);
        }
        match (out_end, back_end) {
            (Some(Err(Failure::OverLimit)), _) => Poll::Ready(End::OverLimit),
            (Some(Err(Failure::Unannounced)), _) => Poll::Ready(End::Unannounced(Fault::Jailed)),
            (_, Some(Err(Failure::Unannounced))) => Poll::Ready(End::Unannounced(Fault::Upstream)),
            (Some(Err(Failure::Reading)), _) => Poll::Ready(End::Broken(Fault::Jailed)),
            (_, Some(Err(Failure::Reading))) => Poll::Ready(End::Broken(Fault::Upstream)),
            (Some(Ok(())), Some(Ok(()))) => Poll::Ready(End::Orderly),
            (Some(Err(_)), Some(_)) => Poll::Ready(End::Broken(Fault::Upstream)),
            (Some(_), Some(_)) => Poll::Ready(End::Broken(Fault::Jailed)),
            // Who doesn't take any more may have said something before.
            (Some(_) | None, None) | (None, Some(_)) => Poll::Pending,
        }
    })
    .await;
    Relayed { sent: out.moved, received: back.moved, end }
}

/// Why a direction came to no orderly end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// What it reads from broke.
    Reading,
    /// What it reads from ended without a word.
    Unannounced,
    /// What it writes to broke.
    Writing,
    OverLimit,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Out,
    Back,
}

/// One of the two ways.
struct Direction {
    way: Way,
    buffers: Rc<Buffers>,
    exchange: Exchange,
    /// What was read and not yet written.
    held: Option<Held>,
    /// How many bytes may still be moved.
    left: Option<u64>,
    moved: u64,
    /// Something was written that may not be out.
    is_unflushed: bool,
    /// Nothing more will be read.
    is_read_out: bool,
}

struct Held {
    buffer: Buffer,
    _unsent: Option<Unsent>,
    start: usize,
    end: usize,
}

impl Direction {
    fn new(way: Way, left: Option<u64>, buffers: &Rc<Buffers>, exchange: &Exchange) -> Self {
        Self {
            way,
            buffers: Rc::clone(buffers),
            exchange: exchange.clone(),
            held: None,
            left,
            moved: 0,
            is_unflushed: false,
            is_read_out: false,
        }
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Poll<Result<(), Failure>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..TURN {
            ready!(self.poll_write(cx, to))?;
            if self.is_read_out {
                return Pin::new(to).poll_shutdown(cx).map_err(|_| Failure::Writing);
            }
            let Poll::Ready(read) = self.poll_read(cx, from) else {
                return self.poll_flush(cx, to);
            };
            read?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is held, all of it.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<Result<(), Failure>> {
        while let Some(held) = &mut self.held {
            let bytes = held.buffer.get(held.start..held.end).unwrap_or_default();
            let written = ready!(Pin::new(&mut *to).poll_write(cx, bytes));
            let written = written.map_err(|_| Failure::Writing)?;
            if written == 0 {
                return Poll::Ready(Err(Failure::Writing));
            }
            held.start += written;
            self.is_unflushed = true;
            self.moved += written as u64;
            match self.way {
                Way::Out => self.exchange.sent(written),
                Way::Back => self.exchange.received(written),
            }
            if held.start >= held.end {
                self.held = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// There is nothing to read for now: what was written goes out, which may still wait for room
    /// where it is encrypted.
    fn poll_flush<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
    ) -> Poll<Result<(), Failure>> {
        if self.is_unflushed {
            ready!(Pin::new(to).poll_flush(cx)).map_err(|_| Failure::Writing)?;
            self.is_unflushed = false;
        }
        Poll::Pending
    }

    /// Reads once. The buffer is only kept where something came.
    fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
    ) -> Poll<Result<(), Failure>> {
        let mut buffer = self.buffers.lend();
        // One byte more than may pass is enough to know.
        let room = self.left.map_or(buffer.len(), |left| {
            usize::try_from(left.max(1)).map_or(buffer.len(), |left| left.min(buffer.len()))
        });
        let mut space = ReadBuf::new(buffer.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(from).poll_read(cx, &mut space)).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Failure::Unannounced,
            _ => Failure::Reading,
        })?;
        let end = space.filled().len();
        if end == 0 {
            self.is_read_out = true;
            return Poll::Ready(Ok(()));
        }
        if let Some(left) = self.left {
            let Some(left) = left.checked_sub(end as u64) else {
                return Poll::Ready(Err(Failure::OverLimit));
            };
            self.left = Some(left);
        }
        let unsent = (self.way == Way::Out).then(|| self.buffers.unsent());
        self.held = Some(Held { buffer, _unsent: unsent, start: 0, end });
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        runtime::Builder,
    };

    use super::*;

    /// Runs `ends` at the outer ends of a relay, and tells what the relay came to.
    fn between<T>(
        most: Option<u64>,
        ends: impl AsyncFnOnce(DuplexStream, DuplexStream) -> T,
    ) -> (Relayed, T) {
        Builder::new_current_thread().build().unwrap().block_on(async {
            let ((client, mut near), (mut far, server)) = (duplex(100), duplex(100));
            let relaying = async {
                let relayed =
                    relay(&mut near, &mut far, most, &Rc::default(), &Exchange::none()).await;
                drop((near, far));
                relayed
            };
            tokio::join!(relaying, ends(client, server))
        })
    }

    #[test]
    fn each_side_ends_by_itself() {
        let (relayed, ()) = between(None, async |mut client, mut server| {
            client.write_all(b"all").await.unwrap();
            client.shutdown().await.unwrap();
            let mut said = String::new();
            server.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, "all");
            server.write_all(b"and the answer").await.unwrap();
            drop(server);
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "and the answer");
        });
        assert_eq!(relayed, Relayed { sent: 3, received: 14, end: End::Orderly });
    }

    #[test]
    fn every_byte_comes_once_and_in_order_both_ways() {
        let bytes: Vec<u8> = (0..100_003_u32).map(|n| (n % 251) as u8).collect();
        let (relayed, ()) = between(None, async |mut client, mut server| {
            let (mut at_client, mut at_server) = (Vec::new(), Vec::new());
            {
                let (mut client_in, mut client_out) = tokio::io::split(&mut client);
                let (mut server_in, mut server_out) = tokio::io::split(&mut server);
                let write = async {
                    client_out.write_all(&bytes).await?;
                    client_out.shutdown().await
                };
                let answer = async {
                    server_out.write_all(&bytes).await?;
                    server_out.shutdown().await
                };
                let reading = server_in.read_to_end(&mut at_server);
                let hearing = client_in.read_to_end(&mut at_client);
                let done: io::Result<_> = tokio::try_join!(write, answer, reading, hearing);
                done.unwrap();
            }
            assert!(at_client == bytes && at_server == bytes);
        });
        let length = bytes.len() as u64;
        assert_eq!(relayed, Relayed { sent: length, received: length, end: End::Orderly });
    }

    #[test]
    fn a_slow_reader_slows_the_writer() {
        let ((), ()) = Builder::new_current_thread().build().unwrap().block_on(async {
            let ((mut client, mut near), (mut far, server)) = (duplex(100), duplex(100));
            let (buffers, none) = (Rc::default(), Exchange::none());
            let relaying = relay(&mut near, &mut far, None, &buffers, &none);
            let writing = async {
                // Nobody reads: this fills what lies between, and ends there.
                let mut taken = 0;
                while let Poll::Ready(written) = poll_once(client.write(&[0; 50])).await {
                    taken += written.unwrap();
                    tokio::task::yield_now().await;
                    assert!(taken <= 300, "more than the two pipes and a read of one");
                }
                drop(server);
            };
            tokio::select! { _ = relaying => (), () = writing => () };
            ((), ())
        });
    }

    async fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }

    #[test]
    fn a_limit_is_kept_to_the_byte() {
        for (said, end) in [("12345", End::Orderly), ("123456", End::OverLimit)] {
            let (relayed, heard) = between(Some(5), async |mut client, mut server| {
                client.write_all(said.as_bytes()).await.unwrap();
                client.shutdown().await.unwrap();
                let mut heard = String::new();
                server.read_to_string(&mut heard).await.unwrap();
                heard
            });
            assert_eq!((relayed.sent, relayed.end), (5, end), "{said}");
            assert_eq!(heard, "12345");
        }
        let (relayed, ()) = between(Some(0), async |mut client, server| {
            client.write_all(b"1").await.unwrap();
            drop(server);
        });
        assert_eq!((relayed.sent, relayed.end), (0, End::OverLimit));
    }

    /// Keeps what is written until it is flushed.
    struct Lazy(tokio::io::BufWriter<DuplexStream>);

    impl AsyncRead for Lazy {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Lazy {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[test]
    fn what_waits_in_a_layer_below_goes_out_when_nothing_more_comes() {
        Builder::new_current_thread().build().unwrap().block_on(async {
            let ((mut client, mut near), (far, mut server)) = (duplex(100), duplex(100));
            let (mut far, buffers) = (Lazy(tokio::io::BufWriter::new(far)), Rc::default());
            let none = Exchange::none();
            let conversation = async {
                for _ in 0..2 {
                    client.write_all(b"ping").await.unwrap();
                    let mut heard = [0; 4];
                    server.read_exact(&mut heard).await.unwrap();
                    server.write_all(&heard).await.unwrap();
                    client.read_exact(&mut heard).await.unwrap();
                }
            };
            tokio::select! {
                relayed = relay(&mut near, &mut far, None, &buffers, &none) => panic!("{relayed:?}"),
                () = conversation => {}
            }
        });
    }

    #[test]
    fn what_was_said_before_a_break_still_arrives() {
        let (relayed, heard) = between(None, async |mut client, mut server| {
            server.write_all(b"no more of that").await.unwrap();
            drop(server);
            let mut heard = String::new();
            // The server takes nothing any more.
            client.write_all(b"more").await.unwrap();
            client.read_to_string(&mut heard).await.unwrap();
            heard
        });
        assert_eq!(heard, "no more of that");
        assert_eq!(relayed.end, End::Broken(Fault::Upstream));
    }
}
