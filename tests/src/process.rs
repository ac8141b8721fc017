//! Commands that the lab has started, and what became of them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;

use crate::DEADLINE;

/// A command that is running.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Output,
    stderr: Output,
    log: Option<PathBuf>,
}

/// A command that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// All that it wrote to standard output.
    pub stdout: String,
    /// All that it wrote to standard error.
    pub stderr: String,
    /// The lines of its request log without their times, when it was a jail.
    pub log: Vec<String>,
}

impl Running {
    /// Takes charge of a child. What it writes is kept where it writes to a pipe.
    pub(crate) fn new(mut child: Child, log: Option<PathBuf>) -> Self {
        let stdout = child.stdout.take().map_or_else(Output::none, Output::of);
        let stderr = child.stderr.take().map_or_else(Output::none, Output::of);
        Self { stdin: child.stdin.take(), child, stdout, stderr, log }
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The proxy of a jail: the one child of the supervisor that isn't in the jail.
    ///
    /// # Panics
    /// When there is not just one.
    #[must_use]
    pub fn proxy(&self) -> Pid {
        let in_jail = |pid: &str| {
            let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup"));
            cgroup.expect("a living process").contains("/jail-")
        };
        let children = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = fs::read_to_string(children).expect("a living process");
        let proxies: Vec<_> = children.split_whitespace().filter(|pid| !in_jail(pid)).collect();
        assert_eq!(proxies.len(), 1, "the supervisor's children: {children}");
        Pid::from_raw(proxies[0].parse().expect("a number")).expect("not 0")
    }

    /// Waits for a line of standard output that holds `text`, and returns it.
    ///
    /// # Panics
    /// When none comes.
    pub fn line(&self, text: &str) -> String {
        let line = self.stdout.line(text);
        line.unwrap_or_else(|| absent(text, &self.stdout.text(), &self.stderr.text()))
    }

    /// Waits for a line of standard error that holds `text`, and returns it.
    ///
    /// # Panics
    /// When none comes.
    pub fn error_line(&self, text: &str) -> String {
        let line = self.stderr.line(text);
        line.unwrap_or_else(|| absent(text, &self.stdout.text(), &self.stderr.text()))
    }

    /// Waits for a line of its request log that holds `text`.
    ///
    /// # Panics
    /// When none comes, or it has no log.
    pub fn logged(&self, text: &str) {
        let log = self.log.as_ref().expect("only a jail has a log");
        let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .expect("inotify");
        inotify::add_watch(&changes, log, inotify::WatchFlags::MODIFY).expect("the log is there");
        let deadline = Instant::now() + DEADLINE;
        let has_line = || fs::read_to_string(log).is_ok_and(|log| log.contains(text));
        while !has_line() {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {text:?} in the log; stderr: {}", self.stderr.text());
            let left = Timespec::try_from(left).expect("a deadline of seconds");
            poll(&mut [PollFd::new(&changes, PollFlags::IN)], Some(&left)).expect("it is pollable");
            rustix::io::read(&changes, &mut [0; 4096]).ok();
        }
    }

    /// Writes to its standard input.
    ///
    /// # Panics
    /// When it no longer reads.
    pub fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("its standard input is open");
        stdin.write_all(text.as_bytes()).expect("it reads its standard input");
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.raw_pid(), signal).expect("a child that was not waited for is there");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    pub fn finish(mut self) -> Finished {
        self.stdin = None;
        let ended = self.wait();
        assert!(
            ended,
            "not over in {DEADLINE:?}; so far: {} {}",
            self.stdout.text(),
            self.stderr.text()
        );
        let status = self.child.wait().expect("a child can be waited for");
        let (stdout, stderr) = (self.stdout.end(), self.stderr.end());
        let log = self.log.as_ref().map(|log| fs::read_to_string(log).unwrap_or_default());
        let log = log.unwrap_or_default().lines().map(without_time).collect();
        Finished { code: status.code(), signal: status.signal(), stdout, stderr, log }
    }

    fn wait(&self) -> bool {
        let pidfd = pidfd_open(self.raw_pid(), PidfdFlags::empty()).expect("a child has a pidfd");
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        let timeout = Timespec::try_from(DEADLINE).expect("a deadline of seconds");
        poll(&mut fds, Some(&timeout)).expect("a pidfd can be polled") == 1
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill()); // It may have ended.
        drop(self.child.wait());
    }
}

impl Finished {
    /// The last line of its output, as the probe's report.
    ///
    /// # Panics
    /// When it is no JSON.
    #[must_use]
    pub fn report(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        let report = serde_json::from_str(line).ok();
        report.unwrap_or_else(|| absent("a report of the probe", &self.stdout, &self.stderr))
    }

    /// Itself, after a check of its exit code.
    ///
    /// # Panics
    /// When the code is another.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

/// What a pipe has brought so far.
#[derive(Clone, Debug, Default)]
struct Output(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Debug, Default)]
struct Collected {
    text: String,
    ended: bool,
}

impl Output {
    fn none() -> Self {
        Self::of(std::io::empty())
    }

    fn of(pipe: impl Read + Send + 'static) -> Self {
        let this = Self::default();
        let sink = this.clone();
        std::thread::spawn(move || sink.collect(pipe));
        this
    }

    fn collect(&self, pipe: impl Read) {
        let (collected, changed) = &*self.0;
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        loop {
            line.clear();
            let ended = pipe.read_until(b'\n', &mut line).map_or(true, |length| length == 0);
            let mut collected = collected.lock().expect("no reader panics");
            collected.text.push_str(&String::from_utf8_lossy(&line));
            collected.ended = ended;
            changed.notify_all();
            if ended {
                return;
            }
        }
    }

    fn line(&self, text: &str) -> Option<String> {
        self.until(|collected| {
            let line = collected.text.lines().find(|line| line.contains(text));
            line.map(|line| Some(line.to_owned())).or(collected.ended.then_some(None))
        })
        .flatten()
    }

    /// All of it. The pipe is open for as long as a process holds it: one that outlived the command.
    fn end(&self) -> String {
        let text = self.until(|collected| collected.ended.then(|| collected.text.clone()));
        text.unwrap_or_else(|| absent("the end of its output", &self.text(), "a process holds it"))
    }

    fn text(&self) -> String {
        self.0.0.lock().expect("no reader panics").text.clone()
    }

    fn until<T>(&self, ready: impl Fn(&Collected) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + DEADLINE;
        let (collected, changed) = &*self.0;
        let mut guard = collected.lock().expect("no reader panics");
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let found = ready(&guard);
            if found.is_some() || left.is_zero() {
                return found;
            }
            guard = changed.wait_timeout(guard, left).expect("no reader panics").0;
        }
    }
}

fn without_time(line: &str) -> String {
    line.split_once(' ').map_or(line, |(_, rest)| rest).to_owned()
}

#[expect(clippy::panic, reason = "a test that waits in vain has to fail")]
fn absent<T>(what: &str, stdout: &str, stderr: &str) -> T {
    panic!("no {what:?}\nstdout: {stdout}\nstderr: {stderr}")
}
