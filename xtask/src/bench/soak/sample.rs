//! What httpjail holds at a moment: memory, descriptors, threads, entries of the kernel's map.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::tools;

/// The processes and the cgroup of one run.
pub(super) struct Run {
    supervisor: u32,
    proxy: u32,
    /// The jail's cgroup.
    pub(super) cgroup: PathBuf,
}

/// What a run holds at a moment.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Sample {
    /// Resident memory of the proxy, KiB.
    pub(super) proxy_resident: f64,
    /// The proxy's share of memory, KiB.
    pub(super) proxy_share: f64,
    /// Open descriptors of the proxy.
    pub(super) proxy_descriptors: f64,
    /// Threads of the proxy.
    pub(super) proxy_threads: f64,
    /// Resident memory of the supervisor, KiB.
    pub(super) supervisor_resident: f64,
    /// Open descriptors of the supervisor.
    pub(super) supervisor_descriptors: f64,
    /// The jail's connections that wait to be accepted.
    pub(super) flows: f64,
}

impl Run {
    /// Finds the parts of the run of this supervisor, once it has them.
    pub(super) fn find(supervisor: u32) -> Result<Self> {
        let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"))
            .context("the jail has ended")?;
        let child = |wanted: &str| {
            let pids = children.split_whitespace();
            let mut pids = pids.filter_map(|pid| pid.parse::<u32>().ok());
            pids.find(|pid| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm"));
                name.is_ok_and(|name| name.trim_end() == wanted)
            })
        };
        let (Some(proxy), Some(init)) = (child("httpjail-proxy"), child("httpjail-init")) else {
            bail!("the supervisor's children are {children}");
        };
        Ok(Self { supervisor, proxy, cgroup: cgroup_of(init)? })
    }

    /// The proxy's CPU time so far.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        super::super::usage::cpu_seconds(self.proxy)
    }

    /// What the run holds now.
    pub(super) fn sample(&self) -> Result<Sample> {
        let proxy = status(self.proxy)?;
        let supervisor = status(self.supervisor)?;
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.proxy))?;
        Ok(Sample {
            proxy_resident: number(&proxy, "VmRSS:")?,
            proxy_share: number(&rollup, "Pss:")?,
            proxy_descriptors: descriptors(self.proxy)?,
            proxy_threads: number(&proxy, "Threads:")?,
            supervisor_resident: number(&supervisor, "VmRSS:")?,
            supervisor_descriptors: descriptors(self.supervisor)?,
            flows: flows(fs::metadata(&self.cgroup)?.ino())? as f64,
        })
    }
}

/// The folder of a process's cgroup of version 2.
fn cgroup_of(pid: u32) -> Result<PathBuf> {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let own = cgroups.lines().find_map(|line| line.strip_prefix("0::/"));
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let mount = mount.and_then(|line| line.split(' ').nth(4)).context("no cgroup2 is mounted")?;
    Ok(Path::new(mount).join(own.context("the jail has no cgroup")?))
}

fn status(pid: u32) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/status")).context("a process of the run has ended")
}

fn descriptors(pid: u32) -> Result<f64> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64)
}

fn number(text: &str, field: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    value.with_context(|| format!("no {field} in {text}"))
}

/// How many entries of the map of connections, or of the map of jails, are those of this jail.
fn flows(jail: u64) -> Result<usize> {
    entries("FLOWS", jail)
}

/// Whether the kernel still knows this jail.
pub(super) fn is_known(jail: u64) -> Result<bool> {
    let maps = ["JAILS", "COUNTERS", "REFUSALS"].map(|map| entries(map, jail));
    Ok(maps.into_iter().sum::<Result<usize>>()? + flows(jail)? > 0)
}

/// How many keys begin with the jail's number in the maps of this name: each build has its own.
fn entries(name: &str, jail: u64) -> Result<usize> {
    let mut count = 0;
    for map in bpftool(&["map", "show"])?.as_array().into_iter().flatten() {
        if map["name"] != name {
            continue;
        }
        let dump = bpftool(&["map", "dump", "id", &map["id"].to_string()])?;
        count += dump.as_array().into_iter().flatten().filter(|entry| is_of(entry, jail)).count();
    }
    Ok(count)
}

fn bpftool(arguments: &[&str]) -> Result<Value> {
    let path = tools::find("bpftool").context("bpftool is missing")?;
    let text = tools::output(Command::new(path).arg("--json").args(arguments))?;
    serde_json::from_str(&text).context("failed to read what bpftool printed")
}

fn is_of(entry: &Value, jail: u64) -> bool {
    let bytes =
        entry["key"].as_array().into_iter().flatten().take(8).filter_map(|byte| {
            u8::from_str_radix(byte.as_str()?.trim_start_matches("0x"), 16).ok()
        });
    bytes.eq(jail.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_jails_entries_by_the_first_bytes_of_their_keys() {
        let entry = serde_json::json!({
            "key": ["0x02", "0x01", "0x00", "0x00", "0x00", "0x00", "0x00", "0x00", "0xff"],
        });
        assert!(is_of(&entry, 0x102));
        assert!(!is_of(&entry, 0x103));
    }

    #[test]
    fn reads_numbers_by_the_names_of_their_lines() {
        assert_eq!(number("Pss:   12 kB\nThreads:\t3\n", "Threads:").unwrap(), 3.0);
        assert!(number("Pss: 12 kB", "Rss:").is_err());
    }
}
