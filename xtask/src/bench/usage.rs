//! What a proxy used: CPU time and peak memory of its processes.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// Which processes are the proxy.
pub(super) enum Who {
    /// Those of these names.
    Named(&'static [&'static str]),
    /// Those that run this file.
    Running(PathBuf),
}

/// CPU time and memory of some processes.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Usage {
    /// CPU time of all of them since they began, user and system.
    pub(super) cpu_seconds: f64,
    /// The peak resident memory of the largest.
    pub(super) peak_megabytes: f64,
}

impl Usage {
    /// What they used until now; from here on, memory peaks count anew.
    pub(super) fn start(who: &Who) -> Result<Self> {
        let mut sum = Self::default();
        for pid in who.processes()? {
            sum.add(Self::of(pid).unwrap_or_default());
            // 5 resets the peak (proc(5)). A process that just ended has none.
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
        Ok(sum)
    }

    /// What they used until now.
    pub(super) fn now(who: &Who) -> Result<Self> {
        let processes = who.processes()?;
        ensure!(!processes.is_empty(), "the proxy isn't running");
        let mut sum = Self::default();
        for pid in processes {
            sum.add(Self::of(pid)?);
        }
        Ok(sum)
    }

    /// What was used after `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self { cpu_seconds: self.cpu_seconds - earlier.cpu_seconds, ..self }
    }

    fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Self {
            cpu_seconds: cpu_seconds(pid)?,
            peak_megabytes: peak_kilobytes(&status).unwrap_or_default() / 1024.0,
        })
    }

    fn add(&mut self, other: Self) {
        self.cpu_seconds += other.cpu_seconds;
        self.peak_megabytes = self.peak_megabytes.max(other.peak_megabytes);
    }
}

impl Who {
    fn processes(&self) -> Result<Vec<u32>> {
        let mut pids = Vec::new();
        for entry in fs::read_dir("/proc").context("failed to list /proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            if self.is(pid) {
                pids.push(pid);
            }
        }
        Ok(pids)
    }

    fn is(&self, pid: u32) -> bool {
        match self {
            Self::Named(names) => fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|comm| names.contains(&comm.trim_end())),
            Self::Running(file) => {
                fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == *file)
            }
        }
    }
}

/// Proportional memory of all those processes, in megabytes: what several share counts once.
pub(super) fn proportional_megabytes(who: &Who) -> Result<f64> {
    let mut kilobytes = 0.0;
    for pid in who.processes()? {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        kilobytes += proportional_kilobytes(&rollup).unwrap_or_default();
    }
    ensure!(kilobytes > 0.0, "the proxy isn't running");
    Ok(kilobytes / 1024.0)
}

fn proportional_kilobytes(rollup: &str) -> Option<f64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The scheduler's own count, in nanoseconds, of every thread: finer than the ticks of `stat`.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let counts = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let on_cpu = counts.split(' ').next().and_then(|count| count.parse::<f64>().ok());
        nanoseconds += on_cpu.unwrap_or_default();
    }
    Ok(nanoseconds / 1e9)
}

fn peak_kilobytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_peak_from_a_status() {
        assert_eq!(peak_kilobytes("Name:\tx\nVmHWM:\t    2048 kB\n"), Some(2048.0));
        assert_eq!(peak_kilobytes("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn finds_this_very_process() {
        let this = Who::Running(std::env::current_exe().unwrap());
        let usage = Usage::now(&this).unwrap();
        assert!(usage.peak_megabytes > 0.0);
    }

    #[test]
    fn says_so_when_no_process_is_the_proxy() {
        assert!(Usage::now(&Who::Named(&["surely-no-proxy"])).is_err());
    }
}
