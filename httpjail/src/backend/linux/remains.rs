//! What is still in a cgroup that should be empty, for a person to read.

use std::{fmt, fs, path::Path};

/// More of them would make a message that nobody reads.
const SHOWN: usize = 8;

/// The processes in a cgroup and below it, as they were at one moment.
#[derive(Debug, thiserror::Error)]
pub(super) struct Remains(Vec<Process>);

#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    /// Its name and state; none when it went meanwhile, or its files aren't in view.
    about: Option<(String, char)>,
    is_frozen: bool,
}

impl Remains {
    /// Looks into a cgroup.
    pub(super) fn of(cgroup: &Path) -> Self {
        let mut found = Vec::new();
        collect(cgroup, &mut found);
        Self(found)
    }
}

impl fmt::Display for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("processes that aren't in view are still there");
        }
        f.write_str("still there: ")?;
        for (at, process) in self.0.iter().take(SHOWN).enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{process}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)?;
        let Some((name, state)) = &self.about else { return Ok(()) };
        let state = match state {
            'D' => "in an uninterruptible call",
            'Z' | 'X' => "dead, not yet reaped",
            'T' | 't' => "stopped",
            _ if self.is_frozen => "frozen",
            'R' => "running",
            _ => "sleeping",
        };
        write!(f, " ({name:?}, {state})")
    }
}

fn collect(cgroup: &Path, found: &mut Vec<Process>) {
    let events = fs::read_to_string(cgroup.join("cgroup.events")).unwrap_or_default();
    let is_frozen = events.lines().any(|line| line == "frozen 1");
    // Of a threaded cgroup the domain above lists the processes.
    let processes = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines().filter_map(|line| line.parse().ok()) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        found.push(Process { pid, about: name_and_state(&stat), is_frozen });
    }
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), found);
        }
    }
}

/// Takes `/proc/PID/stat` apart (proc_pid_stat(5)): the name may hold anything, parentheses too.
fn name_and_state(stat: &str) -> Option<(String, char)> {
    let (head, tail) = stat.rsplit_once(") ")?;
    let (_, name) = head.split_once(" (")?;
    Some((name.to_owned(), tail.chars().next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_that_look_like_states() {
        let told = name_and_state("12 (a) R (b) D 1 12");
        assert_eq!(told, Some(("a) R (b".to_owned(), 'D')));
        assert_eq!(name_and_state(""), None);
    }

    #[test]
    fn tells_what_holds_each_process() {
        let process = |pid, state, is_frozen| Process {
            pid,
            about: Some(("sh".to_owned(), state)),
            is_frozen,
        };
        let unseen = Process { pid: 5, about: None, is_frozen: false };
        let some = Remains(vec![process(3, 'D', true), process(4, 'S', true), unseen]);
        insta::assert_snapshot!(some, @r#"still there: 3 ("sh", in an uninterruptible call), 4 ("sh", frozen), 5"#);
        let many = Remains((1..=10).map(|pid| process(pid, 'S', false)).collect());
        assert!(many.to_string().ends_with("8 (\"sh\", sleeping), and 2 more"), "{many}");
        let none = Remains(Vec::new());
        insta::assert_snapshot!(none, @"processes that aren't in view are still there");
    }
}
