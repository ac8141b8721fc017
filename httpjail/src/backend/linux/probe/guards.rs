//! The guards one by one.

use std::{error::Error, io, path::Path, thread};

use rustix::thread::{CapabilitySet, UnshareFlags, capabilities, unshare_unsafe};

use super::{Finding, Optional, State};
use crate::backend::linux::{
    backstop::{Backstop, BackstopError},
    bpf::object,
    cgroup::Hierarchy,
    confine::{Extent, confine},
};

/// What a plain user can't try.
const NEEDS_ROOT: &str = "only root can try it";
/// What the supervisor does needs these.
const CAPABILITIES: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
];
/// Any cgroup will do for a try: no process is in it.
const SOME_CGROUP: u64 = 1;

/// What kernels before 6.12 lack.
pub(super) const LANDLOCK: Optional = Optional {
    guard: "Landlock",
    holds: "abstract sockets and processes outside; files, from a broken proxy",
    remedy: "Linux 6.12 or later with CONFIG_SECURITY_LANDLOCK, and landlock among lsm=",
};

pub(super) fn all() -> Vec<Finding> {
    vec![
        privileges(),
        hierarchy(),
        programs(),
        backstop(),
        namespaces(),
        seccomp(),
        landlock(),
        ipv6(),
    ]
}

fn privileges() -> Finding {
    Finding {
        guard: "privileges",
        holds: "what puts a jail up; the command gets none of it",
        since: "5.8",
        mandatory: true,
        state: match missing_capabilities() {
            Ok(missing) if missing.is_empty() => State::Holds("all there".to_owned()),
            Ok(missing) => State::Missing(format!("without {}", missing.join(", "))),
            Err(error) => State::Missing(error.to_string()),
        },
        remedy: Some("sudo httpjail …; in a container: --cap-add BPF,NET_ADMIN,SYS_ADMIN"),
    }
}

fn missing_capabilities() -> io::Result<Vec<&'static str>> {
    let effective = capabilities(None)?.effective;
    let missing = |(capability, name)| (!effective.contains(capability)).then_some(name);
    Ok(CAPABILITIES.into_iter().filter_map(missing).collect())
}

fn is_privileged() -> bool {
    missing_capabilities().is_ok_and(|missing| missing.is_empty())
}

fn hierarchy() -> Finding {
    Finding {
        guard: "cgroup v2",
        holds: "the command and all that it starts, until the last is ended",
        since: "5.14",
        mandatory: true,
        state: match Hierarchy::find() {
            Ok(found) => State::Holds(format!("at {}", found.root().display())),
            Err(error) => State::Missing(chain(&error)),
        },
        remedy: Some("mount -t cgroup2 cgroup2 /sys/fs/cgroup"),
    }
}

fn programs() -> Finding {
    Finding {
        guard: "eBPF programs",
        holds: "every packet but those to the proxy, the DNS stub and the jail itself",
        since: "5.19",
        mandatory: true,
        state: match is_privileged().then(object::load) {
            Some(Ok(programs)) => State::Holds(format!("the kernel takes all {}", programs.len())),
            Some(Err(error)) => State::Missing(chain(&error)),
            None => State::Unknown(NEEDS_ROOT),
        },
        remedy: Some("a kernel built with CONFIG_CGROUP_BPF and CONFIG_BPF_SYSCALL"),
    }
}

fn backstop() -> Finding {
    Finding {
        guard: "nftables rule",
        holds: "what the programs would let out by mistake",
        since: "5.13",
        mandatory: true,
        state: match is_privileged().then(try_backstop) {
            Some(Ok(())) => State::Holds("the kernel takes it".to_owned()),
            Some(Err(error)) => State::Missing(error),
            None => State::Unknown(NEEDS_ROOT),
        },
        remedy: Some("modprobe nf_tables nft_socket"),
    }
}

/// Puts the rule up in a network namespace of its own, which goes with the thread.
fn try_backstop() -> Result<(), String> {
    let attempt = || {
        // SAFETY: the thread is new and does nothing after this but talk to the namespace.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
            .map_err(|error| BackstopError::Open(error.into()))?;
        Backstop::ensure(SOME_CGROUP, 1)
    };
    match thread::spawn(attempt).join() {
        Ok(outcome) => outcome.map_err(|error| chain(&error)),
        Err(_) => Err("the attempt panicked".to_owned()),
    }
}

fn namespaces() -> Finding {
    Finding {
        guard: "namespaces",
        holds: "processes outside, cgroups, settings of the kernel, sockets of daemons",
        since: "5.12",
        mandatory: true,
        state: match is_privileged().then(try_namespaces) {
            Some(Ok(())) => State::Holds("of processes and mounts".to_owned()),
            Some(Err(error)) => State::Missing(error),
            None => State::Unknown(NEEDS_ROOT),
        },
        remedy: Some("a kernel built with CONFIG_PID_NS; in a container: --cap-add SYS_ADMIN"),
    }
}

/// Makes those of the command for a thread, with which they go.
fn try_namespaces() -> Result<(), String> {
    let attempt = || {
        // SAFETY: the thread is new, starts no process, and ends at once.
        unsafe { unshare_unsafe(UnshareFlags::NEWPID | UnshareFlags::NEWNS) }
    };
    match thread::spawn(attempt).join() {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("the attempt panicked".to_owned()),
    }
}

fn seccomp() -> Finding {
    Finding {
        guard: "seccomp",
        holds: "io_uring, mounts, vsock, netlink, and more that hooks don't see",
        since: "3.17",
        mandatory: true,
        state: match try_confinement() {
            Ok(_) => State::Holds("the kernel takes the filter".to_owned()),
            Err(error) => State::Missing(error),
        },
        remedy: Some("a kernel built with CONFIG_SECCOMP_FILTER"),
    }
}

fn landlock() -> Finding {
    Finding {
        guard: LANDLOCK.guard,
        holds: LANDLOCK.holds,
        since: "6.12",
        mandatory: false,
        state: match try_confinement() {
            Ok(Extent::Full) => State::Holds("version 6 or later".to_owned()),
            Ok(Extent::OldLandlock) => {
                State::Missing("in part: this kernel's is older than version 6".to_owned())
            }
            Ok(Extent::NoLandlock) => State::Missing("this kernel has none".to_owned()),
            Err(error) => State::Missing(error),
        },
        remedy: Some(LANDLOCK.remedy),
    }
}

/// Confines a thread, which ends then.
fn try_confinement() -> Result<Extent, String> {
    match thread::spawn(|| confine(&[])).join() {
        Ok(outcome) => outcome.map_err(|error| chain(&error)),
        Err(_) => Err("the attempt panicked".to_owned()),
    }
}

fn ipv6() -> Finding {
    let is_there = Path::new("/proc/net/if_inet6").exists();
    Finding {
        guard: "IPv6",
        holds: "nothing; without it the jail has IPv4 alone",
        since: "2.6",
        mandatory: false,
        state: if is_there {
            State::Holds("on".to_owned())
        } else {
            State::Missing("the kernel has none, or it is switched off".to_owned())
        },
        remedy: None,
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
