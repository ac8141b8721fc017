//! Which program is behind a connection, for its records.
//!
//! Asking costs tens of microseconds, as the kernel tells a privileged process alone. So each
//! process is asked about once in a while, and nobody waits again for an answer that doesn't come.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    policy::{Process, ProcessInspector},
    record::{Client, Recorder},
};

/// How long an answer holds. A process that runs another program meanwhile has another name mostly,
/// and is asked about anew.
const HOLDS: Duration = Duration::from_secs(1);
/// How many processes are remembered.
const MOST: usize = 256;

/// The programs of the processes that connected lately.
pub(super) struct Programs {
    inspector: Arc<dyn ProcessInspector>,
    known: RefCell<HashMap<u32, Known>>,
    /// When it may be asked again, after it failed.
    silent_until: Cell<Option<Instant>>,
}

struct Known {
    process: Process,
    since: Instant,
    client: Client,
}

impl Programs {
    pub(super) fn new(inspector: Arc<dyn ProcessInspector>) -> Self {
        Self { inspector, known: RefCell::default(), silent_until: Cell::default() }
    }

    /// What records say about a client. Where there are none, nothing is asked.
    pub(super) fn client(&self, recorder: &Recorder, process: Option<&Process>) -> Client {
        let Some(process) = process.filter(|_| recorder.has_records()) else {
            return recorder.client(process, None);
        };
        let now = Instant::now();
        let mut known = self.known.borrow_mut();
        if let Some(known) = known.get(&process.pid)
            && known.process == *process
            && now.duration_since(known.since) < HOLDS
        {
            return known.client.clone();
        }
        let client = recorder.client(Some(process), self.program(process.pid, now).as_deref());
        if known.len() >= MOST {
            known.clear();
        }
        let entry = Known { process: process.clone(), since: now, client: client.clone() };
        known.insert(process.pid, entry);
        client
    }

    fn program(&self, pid: u32, now: Instant) -> Option<String> {
        if self.silent_until.get().is_some_and(|until| now < until) {
            return None;
        }
        let found = self.inspector.executable(pid);
        if let Err(error) = &found {
            tracing::debug!(pid, %error, "a program can't be told for the records");
            self.silent_until.set(Some(now + HOLDS));
        }
        found.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicU32, Ordering},
    };

    use super::*;
    use crate::{
        policy::ProcessDetails,
        record::{LogFile, Outputs},
    };

    #[derive(Default)]
    struct Asked(AtomicU32);

    impl ProcessInspector for Asked {
        fn executable(&self, pid: u32) -> io::Result<Option<String>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            if pid == 13 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some("/x".to_owned())) }
        }

        fn details(&self, _pid: u32) -> io::Result<Option<ProcessDetails>> {
            Ok(None)
        }
    }

    fn process(pid: u32, comm: &str) -> Process {
        Process { pid, uid: 1, comm: comm.to_owned() }
    }

    fn recorder() -> (tempfile::TempDir, Recorder) {
        let folder = tempfile::tempdir().unwrap();
        let records = LogFile::open(&folder.path().join("records")).unwrap();
        let outputs = Outputs { records: Some(records), ..Outputs::default() };
        (folder, Recorder::start(outputs).unwrap().0)
    }

    #[test]
    fn each_process_is_asked_about_once() {
        let (_folder, recorder) = recorder();
        let asked = Arc::new(Asked::default());
        let programs = Programs::new(Arc::clone(&asked) as Arc<dyn ProcessInspector>);
        for (process, times) in
            [(process(7, "a"), 1), (process(7, "a"), 1), (process(8, "a"), 2), (process(7, "b"), 3)]
        {
            programs.client(&recorder, Some(&process));
            assert_eq!(asked.0.load(Ordering::Relaxed), times, "{process:?}");
        }
    }

    #[test]
    fn nobody_waits_again_for_what_does_not_answer() {
        let (_folder, recorder) = recorder();
        let asked = Arc::new(Asked::default());
        let programs = Programs::new(Arc::clone(&asked) as Arc<dyn ProcessInspector>);
        for pid in [13, 14, 15] {
            programs.client(&recorder, Some(&process(pid, "a")));
        }
        assert_eq!(asked.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn without_records_nothing_is_asked() {
        let asked = Arc::new(Asked::default());
        let programs = Programs::new(Arc::clone(&asked) as Arc<dyn ProcessInspector>);
        programs.client(&Recorder::none(), Some(&process(7, "a")));
        assert_eq!(asked.0.load(Ordering::Relaxed), 0);
    }
}
