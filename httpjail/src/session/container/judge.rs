//! Which containers aren't run: those that would have a way past their guards.
//!
//! What is judged is what the engine made of the options, not the options: there are many ways to
//! say the same, and defaults in files.

use std::{fmt, path::PathBuf};

use super::facts::{Facts, Mount};
use crate::backend::linux::exposed::Exposed;

/// Capabilities with which nothing beyond the container is reached: those that engines give
/// unasked, and a few that debuggers and databases ask for.
const HARMLESS: [&str; 19] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "SYS_NICE",
    "SYS_PTRACE",
];

/// Settings of the kernel by which root, however small, has it run a program outside
/// (`core_pattern`), or brings the machine down.
const GUARDED: [&str; 2] = ["/proc/sys", "/proc/sysrq-trigger"];

/// What `--security-opt` may say: what else it can is to lay guards down.
const SECURITY: [&str; 5] = ["apparmor", "label", "mask", "no-new-privileges", "seccomp"];

/// Why a container isn't run; completes "failed to jail the container: …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has another network than the jail's.
    Network(String),
    /// It is in another cgroup.
    Cgroup(String),
    /// It has all privileges.
    Privileged,
    /// It has a capability that reaches beyond it.
    Capability(String),
    /// It shares a namespace.
    Shared(&'static str),
    /// It can change the kernel's settings.
    Settings(&'static str),
    /// Its guards are laid down by `--security-opt`.
    Security(String),
    /// The engine starts it again when the jail is gone.
    Restarted,
    /// Ports lead to it.
    Published,
    /// What is mounted leads out of it.
    Mount(PathBuf, String),
    /// A volume with options, which may be any file system.
    Volume(String),
    /// A mount of a kind that nobody here knows.
    Kind(String),
}

/// What the jail gave the container, by which it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    pub(super) network: &'a str,
    pub(super) cgroup_parent: &'a str,
}

/// Judges a created container; its mounts are looked at by [`mounts`].
///
/// # Errors
///
/// Why it isn't run.
pub(super) fn judge(facts: &Facts, given: Given<'_>) -> Result<(), Refusal> {
    if facts.privileged {
        return Err(Refusal::Privileged);
    }
    if facts.network != given.network {
        return Err(Refusal::Network(facts.network.clone()));
    }
    if facts.cgroup_parent != given.cgroup_parent {
        return Err(Refusal::Cgroup(facts.cgroup_parent.clone()));
    }
    if let Some(what) = facts.shared.first() {
        return Err(Refusal::Shared(what));
    }
    let reaches_out = |name: &&String| {
        let upper = name.to_ascii_uppercase();
        !HARMLESS.contains(&upper.strip_prefix("CAP_").unwrap_or(&upper))
    };
    if let Some(capability) = facts.capabilities.iter().find(reaches_out) {
        return Err(Refusal::Capability(capability.clone()));
    }
    let is_unknown = |option: &&String| {
        let name = option.split(['=', ':']).next().unwrap_or_default();
        !SECURITY.contains(&name)
    };
    if let Some(option) = facts.security.iter().find(is_unknown) {
        return Err(Refusal::Security(option.clone()));
    }
    if let Some(path) = GUARDED.iter().find(|path| !facts.read_only.iter().any(|it| it == *path)) {
        return Err(Refusal::Settings(path));
    }
    if facts.published {
        return Err(Refusal::Published);
    }
    if facts.restarted { Err(Refusal::Restarted) } else { Ok(()) }
}

/// What of the host has to be looked at: files and folders, and volumes by their names.
///
/// # Errors
///
/// A mount that nobody here knows.
pub(super) fn mounts(facts: &Facts) -> Result<(Vec<&PathBuf>, Vec<&str>), Refusal> {
    let (mut paths, mut volumes) = (Vec::new(), Vec::new());
    for mount in facts.mounts.iter().filter(|mount| !mount.is_own()) {
        match mount {
            Mount::Bind(path) => paths.push(path),
            Mount::Volume(name) => volumes.push(name.as_str()),
            Mount::Other(kind) => return Err(Refusal::Kind(kind.clone())),
        }
    }
    Ok((paths, volumes))
}

impl Refusal {
    /// What is exposed by a mount of `path`.
    pub(super) fn exposed(path: &std::path::Path, what: &Exposed) -> Self {
        Self::Mount(path.to_owned(), what.to_string())
    }

    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Network(_) => {
                "leave --network out: a jailed container has the jail's network, and no other"
            }
            Self::Cgroup(_) => "leave --cgroup-parent and --cgroups out",
            Self::Privileged => "leave --privileged out, and give what the program needs by itself",
            Self::Capability(_) => "leave it out (--cap-add, or the engine's configuration)",
            Self::Shared(_) => "leave --pid, --ipc and --pod out",
            Self::Settings(_) | Self::Security(_) => "leave --security-opt for it out",
            Self::Restarted => "leave --restart out, and start httpjail anew instead",
            Self::Published => {
                "leave --publish out: nothing outside reaches into a jailed container yet"
            }
            Self::Mount(..) => {
                "mount a smaller folder; --allow-unix opens a socket, whose server can then act for \
                 the container outside"
            }
            Self::Volume(_) | Self::Kind(_) => "mount the folder itself, by -v /PATH:/PATH",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(mode) => write!(f, "its network is {mode:?}"),
            Self::Cgroup(parent) => write!(f, "its cgroup is below {parent:?}"),
            Self::Privileged => f.write_str("it is privileged, and could undo every guard"),
            Self::Capability(name) => write!(f, "{name} reaches beyond it"),
            Self::Shared(what) => write!(f, "it would share its {what} with programs outside"),
            Self::Settings(path) => write!(f, "it could write to {path}"),
            Self::Security(option) => write!(f, "--security-opt {option} may lay its guards down"),
            Self::Restarted => f.write_str("the engine would start it again when the jail is gone"),
            Self::Published => f.write_str("ports of this machine would lead to it"),
            Self::Mount(path, what) => write!(f, "what it has mounted from {path:?} holds {what}"),
            Self::Volume(name) => write!(f, "the volume {name} has options, and may hold anything"),
            Self::Kind(kind) => write!(f, "it has a mount of the kind {kind:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: Given<'_> = Given { network: "ns:/n", cgroup_parent: "/p" };

    fn plain() -> Facts {
        Facts {
            image: "i".to_owned(),
            interactive: false,
            removed: false,
            network: "ns:/n".to_owned(),
            cgroup_parent: "/p".to_owned(),
            shared: Vec::new(),
            privileged: false,
            capabilities: vec!["CAP_CHOWN".to_owned(), "sys_ptrace".to_owned()],
            security: vec!["no-new-privileges".to_owned(), "label=disable".to_owned()],
            read_only: ["/proc/bus", "/proc/sys", "/proc/sysrq-trigger"].map(str::to_owned).into(),
            restarted: false,
            published: false,
            mounts: Vec::new(),
            volumes: Vec::new(),
            root: None,
        }
    }

    #[test]
    fn a_plain_container_is_run() {
        assert_eq!(judge(&plain(), GIVEN), Ok(()));
    }

    #[test]
    fn what_has_a_way_out_is_not() {
        let text = |text: &str| text.to_owned();
        let cases = [
            (Facts { privileged: true, ..plain() }, Refusal::Privileged),
            (Facts { network: text("host"), ..plain() }, Refusal::Network(text("host"))),
            (Facts { network: text(""), ..plain() }, Refusal::Network(text(""))),
            (Facts { cgroup_parent: text("/"), ..plain() }, Refusal::Cgroup(text("/"))),
            (Facts { shared: vec!["processes"], ..plain() }, Refusal::Shared("processes")),
            (
                Facts { capabilities: vec![text("cap_net_admin")], ..plain() },
                Refusal::Capability(text("cap_net_admin")),
            ),
            (
                Facts { capabilities: vec![text("ALL")], ..plain() },
                Refusal::Capability(text("ALL")),
            ),
            (
                Facts { security: vec![text("systempaths=unconfined")], ..plain() },
                Refusal::Security(text("systempaths=unconfined")),
            ),
            (
                Facts { read_only: vec![text("/proc/sys")], ..plain() },
                Refusal::Settings(GUARDED[1]),
            ),
            (Facts { read_only: Vec::new(), ..plain() }, Refusal::Settings(GUARDED[0])),
            (Facts { published: true, ..plain() }, Refusal::Published),
            (Facts { restarted: true, ..plain() }, Refusal::Restarted),
        ];
        for (facts, refusal) in cases {
            assert_eq!(judge(&facts, GIVEN), Err(refusal));
        }
    }

    #[test]
    fn sorts_mounts() {
        let mut facts = plain();
        let own = Mount::Volume(String::new());
        facts.mounts = vec![Mount::Bind("/a".into()), own, Mount::Volume("v".to_owned())];
        assert_eq!(mounts(&facts).unwrap(), (vec![&PathBuf::from("/a")], vec!["v"]));
        facts.mounts.push(Mount::Other("npipe".to_owned()));
        assert_eq!(mounts(&facts), Err(Refusal::Kind("npipe".to_owned())));
    }
}
