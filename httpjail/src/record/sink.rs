//! Where lines go: workers put them into a bounded buffer, one thread writes them out.
//!
//! A worker never waits for the disk. While the writer is busy or lingers, lines gather and go
//! out with one `write`. When the buffer is full or the disk refuses, lines are lost, counted
//! and reported; no verdict depends on it.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use super::{stamp::Stamp, writer::Writer};

/// The most bytes that wait for the writer: some hundred thousand lines.
pub(super) const BUFFER_BYTES: usize = 16 << 20;
/// How long the writer lets lines gather, so that a busy proxy costs few writes and wake-ups.
const LINGER: Duration = Duration::from_millis(2);
/// How long the end of a run waits for a file that doesn't take what is left.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// What a sink writes, for its warnings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose {
    /// The name of its thread.
    pub(super) thread: &'static str,
    /// How it is called in a sentence.
    pub(super) name: &'static str,
}

/// Takes lines. Cheap to clone; one for each worker thread.
#[derive(Clone, Debug)]
pub(super) struct Sink(Arc<Shared>);

/// The other end of a [`Sink`]: brings out what is still waiting.
#[derive(Debug)]
pub(super) struct SinkHandle {
    shared: Arc<Shared>,
    purpose: Purpose,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug)]
struct Queue {
    stamp: Stamp,
    bytes: Vec<u8>,
    lines: u64,
    /// Lines that were taken out and are being written.
    in_flight: u64,
    lost: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Closing,
    Closed,
}

impl Sink {
    /// A sink that writes to `out`, by a thread of its own.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(super) fn start(
        purpose: Purpose,
        out: impl io::Write + Send + 'static,
    ) -> io::Result<(Self, SinkHandle)> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                stamp: Stamp::new(),
                bytes: Vec::new(),
                lines: 0,
                in_flight: 0,
                lost: 0,
                state: State::Open,
            }),
            changed: Condvar::new(),
        });
        let inner = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name(purpose.thread.to_owned())
            .spawn(move || inner.write_all(Writer::new(out, purpose.name)))?;
        let handle = SinkHandle { shared: Arc::clone(&shared), purpose, thread: Some(thread) };
        Ok((Self(shared), handle))
    }

    /// Adds a line that begins with the time; `rest` is what follows.
    pub(super) fn push_stamped(&self, rest: &str) {
        self.0.push(rest, true);
    }

    /// Adds a whole line.
    pub(super) fn push(&self, line: &str) {
        self.0.push(line, false);
    }

    /// Counts a line that can't be had any more.
    pub(super) fn lose(&self, lines: u64) {
        self.0.lock().lost += lines;
    }
}

impl SinkHandle {
    /// Writes what is waiting, and tells how many lines were lost. Later ones are lost.
    pub(super) fn finish(mut self) -> u64 {
        self.close()
    }

    fn close(&mut self) -> u64 {
        let Some(thread) = self.thread.take() else { return 0 };
        let mut queue = self.shared.lock();
        queue.state = State::Closing;
        self.shared.changed.notify_all();
        let unfinished = |queue: &mut Queue| queue.state != State::Closed;
        let (queue, _) = self
            .shared
            .changed
            .wait_timeout_while(queue, FINISH_WITHIN, unfinished)
            .unwrap_or_else(PoisonError::into_inner);
        let lost = queue.lost + queue.lines + queue.in_flight;
        if queue.state == State::Closed {
            drop(queue);
            // It has nothing more to do; a panic of it was reported as it happened.
            drop(thread.join());
        }
        if lost > 0 {
            let name = self.purpose.name;
            tracing::warn!(records = lost, "{lost} records lost: {name} is incomplete");
        }
        lost
    }
}

impl Drop for SinkHandle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// A panic elsewhere leaves the queue as good as it was: a line is pushed whole or not.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &str, is_stamped: bool) {
        let queue = &mut *self.lock();
        let full = queue.bytes.len() + line.len() > BUFFER_BYTES;
        if full || queue.state != State::Open {
            queue.lost += 1;
            return;
        }
        if is_stamped {
            queue.bytes.extend_from_slice(queue.stamp.text(SystemTime::now()));
        }
        queue.bytes.extend_from_slice(line.as_bytes());
        queue.lines += 1;
        if queue.lines == 1 {
            self.changed.notify_all();
        }
    }

    /// The writer's life: one batch after another, until the queue is closed and empty.
    fn write_all<W: io::Write>(&self, mut out: Writer<W>) {
        let mut batch = Vec::new();
        while self.take(&mut batch) {
            let lost = out.write(&batch);
            batch.clear();
            let mut queue = self.lock();
            queue.in_flight = 0;
            queue.lost += lost;
        }
        self.lock().state = State::Closed;
        self.changed.notify_all();
    }

    /// Waits for lines, lets them gather, and swaps them for the empty `batch`.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let idle = |queue: &mut Queue| queue.lines == 0 && queue.state == State::Open;
        let queue = self.lock();
        let queue = self.changed.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
        let open = |queue: &mut Queue| queue.state == State::Open;
        let (mut queue, _) = self
            .changed
            .wait_timeout_while(queue, LINGER, open)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut queue.bytes, batch);
        queue.in_flight = std::mem::take(&mut queue.lines);
        queue.in_flight > 0
    }
}
