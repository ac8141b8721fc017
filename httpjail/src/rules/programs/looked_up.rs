//! What was looked up about processes for questions that wait at the same time.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use crate::policy::{ProcessDetails, ProcessInspector, RunFacts};

/// Looks each process up once. To be dropped with the questions that it serves, all of which were
/// asked before it was made: none is then told what was true only before it came.
struct LookedUp {
    processes: Arc<dyn ProcessInspector>,
    known: Mutex<HashMap<u32, Option<ProcessDetails>>>,
}

/// The facts of `run`, for questions that have all been asked already.
pub(super) fn once(run: &RunFacts) -> RunFacts {
    let processes = Arc::clone(&run.processes);
    let processes = Arc::new(LookedUp { processes, known: Mutex::default() });
    RunFacts { jail: run.jail.clone(), processes }
}

impl ProcessInspector for LookedUp {
    fn executable(&self, pid: u32) -> io::Result<Option<String>> {
        self.processes.executable(pid)
    }

    /// What couldn't be found out is asked again.
    fn details(&self, pid: u32) -> io::Result<Option<ProcessDetails>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(details) = known.get(&pid) {
            return Ok(details.clone());
        }
        let details = self.processes.details(pid)?;
        known.insert(pid, details.clone());
        Ok(details)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Nobody knows 3, and every look at another process finds another parent.
    #[derive(Default)]
    struct Asked(AtomicU32);

    impl ProcessInspector for Asked {
        fn executable(&self, _pid: u32) -> io::Result<Option<String>> {
            Ok(None)
        }

        fn details(&self, pid: u32) -> io::Result<Option<ProcessDetails>> {
            let ppid = self.0.fetch_add(1, Ordering::Relaxed);
            match pid {
                2 => Ok(None),
                3 => Err(io::Error::other("nobody knows")),
                _ => Ok(Some(ProcessDetails { ppid, ..ProcessDetails::default() })),
            }
        }
    }

    #[test]
    fn each_process_is_looked_up_once_for_the_questions_of_a_time() {
        let asked = Arc::new(Asked::default());
        let run = RunFacts { jail: None, processes: Arc::clone(&asked) as _ };
        let first = once(&run);
        for (pid, times) in [(1, 1), (1, 1), (2, 2), (2, 2), (3, 3), (3, 4), (1, 4)] {
            let details = first.processes.details(pid);
            assert_eq!(asked.0.load(Ordering::Relaxed), times, "{pid}");
            assert_eq!(details.is_err(), pid == 3);
        }
        let parent = |run: &RunFacts| run.processes.details(1).unwrap().map(|details| details.ppid);
        assert_eq!((parent(&first), parent(&once(&run))), (Some(0), Some(4)));
    }
}
