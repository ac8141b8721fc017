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

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::UNIX_EPOCH};

    use http::Version;

    use super::*;
    use crate::policy::{Denial, DenyReason, Headers, Host, Limits, Scheme};

    fn facts(path: &str) -> RequestFacts {
        RequestFacts {
            method: "GET".to_owned(),
            scheme: Scheme::Https,
            authority: Authority::new(Host::parse("a.test").unwrap(), 8443),
            path: path.to_owned(),
            query: Some("q".to_owned()),
            protocol: Some(Version::HTTP_11),
            headers: Headers::default(),
            requester: [127, 0, 0, 1].into(),
            process: None,
            time: UNIX_EPOCH,
        }
    }

    /// Waits for a word before each write, if it was given an ear.
    struct Gathered {
        bytes: Arc<Mutex<Vec<u8>>>,
        go: Option<mpsc::Receiver<()>>,
    }

    impl io::Write for Gathered {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(go) = &self.go {
                go.recv().map_err(io::Error::other)?;
            }
            self.bytes.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn is_complete_once_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (recorder, handle) = Recorder::to_log(LogFile::open(&path).unwrap()).unwrap();
        recorder.request(&facts("/1"), &Decision::Allow(Limits::default()));
        recorder.request(&facts("/2"), &Decision::Deny(Denial::new(DenyReason::Rule)));
        recorder.refused_flow("TCP", &facts("/").authority);
        assert_eq!(handle.finish(), 0);
        let text = std::fs::read_to_string(&path).unwrap();
        let rest: Vec<_> = text.lines().map(|line| line.split_at(24)).collect();
        assert!(rest.iter().all(|(time, _)| time.starts_with("20") && time.ends_with('Z')));
        assert_eq!(
            rest.iter().map(|(_, rest)| *rest).collect::<Vec<_>>(),
            [
                " + GET https://a.test:8443/1?q",
                " - GET https://a.test:8443/2?q",
                " - TCP tcp://a.test:8443",
            ]
        );
    }

    #[test]
    fn writes_each_record_of_many_threads_once() {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let out = Gathered { bytes: Arc::clone(&bytes), go: None };
        let (recorder, handle) = Recorder::to_writer(out).unwrap();
        thread::scope(|scope| {
            for worker in 0..4 {
                let recorder = recorder.clone();
                scope.spawn(move || {
                    for n in 0..1000 {
                        let decision = Decision::Deny(Denial::new(DenyReason::Rule));
                        recorder.request(&facts(&format!("/{worker}/{n}")), &decision);
                    }
                });
            }
        });
        assert_eq!(handle.finish(), 0);
        let bytes = bytes.lock().unwrap();
        let mut lines: Vec<_> =
            str::from_utf8(&bytes).unwrap().lines().map(|line| &line[24..]).collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 4000);
    }

    #[test]
    fn never_keeps_a_worker_waiting_and_counts_what_did_not_fit() {
        let (go, ear) = mpsc::channel();
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let out = Gathered { bytes: Arc::clone(&bytes), go: Some(ear) };
        let (recorder, handle) = Recorder::to_writer(out).unwrap();
        let total = 2 * BUFFER_BYTES as u64 / 2000 + 1000;
        let long = facts(&"x".repeat(2000));
        for _ in 0..total {
            recorder.request(&long, &Decision::Allow(Limits::default()));
        }
        for _ in 0..total {
            go.send(()).unwrap();
        }
        let lost = handle.finish();
        let written = bytes.lock().unwrap().iter().filter(|&&byte| byte == b'\n').count() as u64;
        assert!(lost > 0 && written > 0);
        assert_eq!(lost + written, total);
    }

    #[test]
    fn gives_up_on_a_log_that_takes_nothing() {
        let (go, ear) = mpsc::channel();
        let out = Gathered { bytes: Arc::default(), go: Some(ear) };
        let (recorder, handle) = Recorder::to_writer(out).unwrap();
        recorder.request(&facts("/"), &Decision::Allow(Limits::default()));
        assert_eq!(handle.finish(), 1);
        drop(go);
    }

    #[test]
    fn keeps_nothing_when_there_is_no_log() {
        Recorder::none().request(&facts("/"), &Decision::Allow(Limits::default()));
    }
}
