//! Where records go: workers put lines into a bounded buffer, one thread writes them out.
//!
//! A worker never waits for the disk. While the writer is busy or lingers, lines gather and go
//! out with one `write`. When the buffer is full or the disk refuses, records are lost, counted
//! and reported; no verdict depends on it.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use super::{LogFile, line, line::Verdict, stamp::Stamp, writer::Writer};
use crate::policy::{Authority, Decision, RequestFacts};

/// The most bytes that wait for the writer: some hundred thousand lines.
const BUFFER_BYTES: usize = 16 << 20;
/// How long the writer lets lines gather, so that a busy proxy costs few writes and wake-ups.
const LINGER: Duration = Duration::from_millis(2);
/// How long the end of a run waits for a log that doesn't take what is left.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// Writes records. Cheap to clone; one for each worker thread.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    shared: Option<Arc<Shared>>,
}

/// The other end of a [`Recorder`]: brings out what is still waiting.
#[derive(Debug)]
pub struct RecorderHandle {
    shared: Arc<Shared>,
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

impl Recorder {
    /// A recorder that keeps nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// A recorder that appends to `log`, by a thread of its own: after a fork, call it in the
    /// process that records.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn to_log(log: LogFile) -> io::Result<(Self, RecorderHandle)> {
        Self::to_writer(log.into_file())
    }

    fn to_writer(out: impl io::Write + Send + 'static) -> io::Result<(Self, RecorderHandle)> {
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
            .name("request-log".to_owned())
            .spawn(move || inner.write_all(Writer::new(out)))?;
        let handle = RecorderHandle { shared: Arc::clone(&shared), thread: Some(thread) };
        Ok((Self { shared: Some(shared) }, handle))
    }

    /// Records one judged request.
    pub fn request(&self, facts: &RequestFacts, decision: &Decision) {
        let Some(shared) = &self.shared else { return };
        let verdict = match decision {
            Decision::Allow(_) => Verdict::Allowed,
            Decision::Deny(_) => Verdict::Denied,
        };
        shared.push(&line::request(verdict, facts));
    }

    /// Records a flow that was refused before it could be read as a request: `protocol` is
    /// `TCP` for bytes that are neither TLS nor HTTP, `TLS` for a handshake that failed, `HTTP`
    /// for a request that could not be parsed or whose names disagree.
    pub fn refused_flow(&self, protocol: &'static str, target: &Authority) {
        let Some(shared) = &self.shared else { return };
        shared.push(&line::refused_flow(protocol, target));
    }
}

impl RecorderHandle {
    /// Writes what is waiting, and tells how many records were lost. Later records are lost.
    pub fn finish(mut self) -> u64 {
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
            tracing::warn!(records = lost, "{lost} records lost: the request log is incomplete");
        }
        lost
    }
}

impl Drop for RecorderHandle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// A panic elsewhere leaves the queue as good as it was: a line is pushed whole or not.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, rest_of_line: &str) {
        let queue = &mut *self.lock();
        let full = queue.bytes.len() + rest_of_line.len() > BUFFER_BYTES;
        if full || queue.state != State::Open {
            queue.lost += 1;
            return;
        }
        queue.bytes.extend_from_slice(queue.stamp.text(SystemTime::now()));
        queue.bytes.extend_from_slice(rest_of_line.as_bytes());
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
