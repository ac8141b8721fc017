//! The tool that speaks with a container engine, and what there is to know of both.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read},
    os::fd::AsFd,
    path::PathBuf,
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{EngineError, forget};
use crate::{
    backend::linux::{
        signals::Signals,
        spawn::{self, ENDING, PlainChild, PlainPlan, spawn_plain},
    },
    session::{
        proxy_process::wait_for,
        run_dir::RunDir,
        supervise::{First, until_readable},
    },
};

/// By which variables a caller's sockets would come into the container (`sd_notify(3)`,
/// `sd_listen_fds(3)`).
const CALLERS_SOCKETS: [&str; 4] = ["LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"];

/// Whose tool it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Docker {
        /// Whether its engine leaves the cgroups to systemd.
        has_systemd: bool,
    },
    Podman,
}

/// Whose answer to `version` was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    Docker,
    Podman,
}

/// A tool that answers.
#[derive(Debug)]
pub(super) struct Engine<'a> {
    pub(super) kind: Kind,
    /// The folder of its images and containers, where it has told of it.
    pub(super) root: Option<PathBuf>,
    tool: Tool<'a>,
}

/// How tools are run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Runner<'a> {
    pub(super) signals: &'a Signals,
    /// Those that the tool starts with.
    pub(super) inherited: spawn::Signals,
}

#[derive(Debug)]
struct Tool<'a> {
    name: OsString,
    runner: Runner<'a>,
    environment: Vec<(OsString, OsString)>,
}

/// How long a tool may take to end when it is told to.
const NOTICE: Duration = Duration::from_secs(5);

/// Where what a tool says on standard error goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Complaints {
    Shown,
    Dropped,
}

impl<'a> Engine<'a> {
    /// The tool that was named, or else the first that answers.
    ///
    /// # Errors
    ///
    /// When none does, or its containers can't be jailed.
    pub(super) fn find(named: Option<&OsStr>, runner: Runner<'a>) -> Result<Self, EngineError> {
        if let Some(name) = named {
            let found = Self::ask(name, runner, Complaints::Shown)?;
            return found.ok_or_else(|| EngineError::Unknown(name.to_owned()));
        }
        for name in ["docker", "podman"] {
            match Self::ask(name.as_ref(), runner, Complaints::Dropped) {
                Ok(Some(engine)) => return Ok(engine),
                Ok(None) | Err(EngineError::Tool { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(EngineError::None)
    }

    fn ask(
        name: &OsStr,
        runner: Runner<'a>,
        complaints: Complaints,
    ) -> Result<Option<Self>, EngineError> {
        let is_callers = |(name, _): &(OsString, _)| CALLERS_SOCKETS.iter().any(|it| name == it);
        let environment = std::env::vars_os().filter(|variable| !is_callers(variable)).collect();
        let tool = Tool { name: name.to_owned(), runner, environment };
        let ask = |what: &str| {
            let (_, said) =
                tool.run(&[what, "--format", "{{json .}}"].map(Into::into), complaints)?;
            Ok::<_, EngineError>(serde_json::from_slice(&said).unwrap_or(Value::Null))
        };
        let (kind, root) = match Maker::of(&ask("version")?) {
            None => return Ok(None),
            // Every one of its containers tells where it is.
            Some(Maker::Podman) => (Ok(Kind::Podman), None),
            // It has more to tell of its engine.
            Some(Maker::Docker) => {
                let info = ask("info")?;
                let root = info.get("DockerRootDir").and_then(Value::as_str);
                (fitness(&info), root.map(PathBuf::from))
            }
        };
        let kind = kind.map_err(|why| EngineError::Unfit { tool: name.to_owned(), why })?;
        tracing::info!(tool = %name.display(), ?kind, "found a container engine");
        Ok(Some(Self { kind, root, tool }))
    }

    /// What the tool prints.
    ///
    /// # Errors
    ///
    /// When it fails: `step` is what it didn't do.
    pub(super) fn say(
        &self,
        step: &'static str,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Vec<u8>, EngineError> {
        match self.tool.run(&self.args(args), Complaints::Shown)? {
            (0, said) => Ok(said),
            (status, _) => Err(EngineError::Failed { step, tool: self.tool.name.clone(), status }),
        }
    }

    /// The same as JSON.
    ///
    /// # Errors
    ///
    /// As [`Engine::say`], and when it is none.
    pub(super) fn tell(
        &self,
        what: &'static str,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<Value, EngineError> {
        let said = self.say("look at the container", args)?;
        serde_json::from_slice(&said).map_err(|_| self.unclear(what))
    }

    /// The same, where there may be nothing to tell of.
    pub(super) fn look(
        &self,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Option<Value> {
        let (_, said) = self.tool.run(&self.args(args), Complaints::Dropped).ok()?;
        serde_json::from_slice(&said).ok()
    }

    /// Sends the first process of a container a signal.
    pub(super) fn send(&self, container: &str, signal: i32) {
        let signal = format!("--signal={signal}");
        let args = self.args(["container", "kill", &signal, container]);
        let sent = self.tool.run(&args, Complaints::Dropped);
        tracing::debug!(container, ?sent, "sent a signal");
    }

    /// The tool's answer about `what` isn't one.
    pub(super) fn unclear(&self, what: &'static str) -> EngineError {
        EngineError::Answer { tool: self.tool.name.clone(), what }
    }

    /// Starts the tool in the place of a command.
    ///
    /// # Errors
    ///
    /// When it can't be started.
    pub(super) fn start(
        &self,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<PlainChild, EngineError> {
        self.tool.start(&self.args(args), [None, None])
    }

    /// Notes containers that are to be removed by whoever sweeps after this run.
    ///
    /// # Errors
    ///
    /// When the note can't be written.
    pub(super) fn note(&self, run_dir: &RunDir, containers: &[&str]) -> io::Result<()> {
        let note = forget::note(&self.tool.name, &self.tool.environment, containers);
        run_dir.note_containers(&note)
    }

    /// Removes a container, which may be gone already, or about to.
    pub(super) fn remove(&self, container: &str) {
        let removed = self.args(REMOVE.into_iter().chain([container]));
        let inspected = self.args(["container", "inspect", container]);
        for _ in 0..REMOVALS {
            let removed = self.tool.run(&removed, Complaints::Dropped);
            // The engine refuses to remove what it is removing.
            match removed.and_then(|_| self.tool.run(&inspected, Complaints::Dropped)) {
                Ok((0, _)) => thread::sleep(MOMENT),
                Ok(_) | Err(_) => return,
            }
        }
        tracing::warn!(container, "the container could not be removed");
    }

    fn args(&self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Vec<OsString> {
        // Under systemd's management a container's cgroup is where systemd says.
        let first = match self.kind {
            Kind::Docker { .. } => None,
            Kind::Podman => Some("--cgroup-manager=cgroupfs".into()),
        };
        first.into_iter().chain(args.into_iter().map(Into::into)).collect()
    }
}

/// By force, as it may run; with the volumes that have no name.
pub(super) const REMOVE: [&str; 4] = ["container", "rm", "--force", "--volumes"];
/// How often it is tried, and how long it is waited for each time.
const REMOVALS: usize = 100;
const MOMENT: Duration = Duration::from_millis(50);
impl Maker {
    /// Whose answer to `version` this is. `None`: of no engine on this machine. Docker's tool tells of
    /// its engine by components; podman's, which is its own engine, of another machine's at most.
    fn of(version: &Value) -> Option<Self> {
        let server = version.get("Server").filter(|server| !server.is_null());
        let components =
            server.and_then(|server| server.get("Components")).and_then(Value::as_array);
        let is_engine = |it: &Value| it.get("Name").and_then(Value::as_str) == Some("Engine");
        if components.is_some_and(|components| components.iter().any(is_engine)) {
            return Some(Self::Docker);
        }
        // Without an engine docker's tool tells where it looked for one.
        let client = version.get("Client")?;
        let is_podman = server.is_none() && client.get("Context").is_none();
        is_podman.then_some(Self::Podman)
    }
}

/// Whether docker's containers can be jailed, and how, by its answer to `info`.
fn fitness(info: &Value) -> Result<Kind, &'static str> {
    let options = info.get("SecurityOptions").and_then(Value::as_array);
    let is_rootless = |option: &Value| option.as_str().is_some_and(|it| it.contains("rootless"));
    if options.is_none_or(|options| options.iter().any(is_rootless)) {
        return Err("its engine doesn't run as root, so that nobody can guard its cgroups");
    }
    match info.get("CgroupDriver").and_then(Value::as_str) {
        Some("cgroupfs") => Ok(Kind::Docker { has_systemd: false }),
        Some("systemd") => Ok(Kind::Docker { has_systemd: true }),
        _ => Err("its engine doesn't say how it makes cgroups"),
    }
}

impl Tool<'_> {
    /// The tool's status and what it printed.
    fn run(&self, args: &[OsString], complaints: Complaints) -> Result<(u8, Vec<u8>), EngineError> {
        let failed = |source| EngineError::Read { tool: self.name.clone(), source };
        let (mut said, output) = io::pipe().map_err(failed)?;
        let null = std::fs::File::options().write(true).open("/dev/null").map_err(failed)?;
        let errors = (complaints == Complaints::Dropped).then(|| null.as_fd());
        let child = self.start(args, [Some(output.as_fd()), errors])?;
        drop(output);
        let mut bytes = Vec::new();
        let mut piece = [0; 16 * 1024];
        loop {
            let Runner { signals, inherited } = self.runner;
            let is_fatal = |signal| ENDING.contains(&signal) && !inherited.ignores(signal);
            match until_readable(said.as_fd(), signals, &is_fatal, None).map_err(failed)? {
                First::Readable => {}
                First::Signal(signal) => {
                    end(&child, signal);
                    return Err(EngineError::Interrupted(u8::try_from(signal).unwrap_or(u8::MAX)));
                }
                First::Deadline => continue,
            }
            match said.read(&mut piece).map_err(failed)? {
                0 => break,
                length => bytes.extend_from_slice(piece.get(..length).unwrap_or_default()),
            }
        }
        let status = child.wait().map_err(failed)?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok((code.unwrap_or(u8::MAX), bytes))
    }

    fn start(
        &self,
        args: &[OsString],
        outputs: [Option<std::os::fd::BorrowedFd<'_>>; 2],
    ) -> Result<PlainChild, EngineError> {
        spawn_plain(PlainPlan {
            command: &self.name,
            args,
            environment: &self.environment,
            identity: None,
            signals: self.runner.inherited,
            outputs,
        })
        .map_err(|source| EngineError::Tool { tool: self.name.clone(), source })
    }
}

/// Hands a signal on to a tool, and waits for its end.
fn end(tool: &PlainChild, signal: i32) {
    let _ = tool.signal(signal);
    if !matches!(wait_for(tool.as_fd(), NOTICE), Ok(true)) {
        let _ = tool.signal(libc::SIGKILL);
    }
    let _ = tool.wait();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn knows_the_engines_by_their_answers() {
        let engine = |name: &str| json!({"Components": [{"Name": name}, {"Name": "runc"}]});
        for (version, expected) in [
            (json!({"Client": {"APIVersion": "4.3.1"}}), Some(Maker::Podman)),
            (
                json!({"Client": {"Context": "default"}, "Server": engine("Engine")}),
                Some(Maker::Docker),
            ),
            (json!({"Client": {"Context": "default"}, "Server": null}), None),
            (json!({"Client": {"Context": "default"}, "Server": engine("Podman Engine")}), None),
            (json!({"Client": {"APIVersion": "4.3.1"}, "Server": {"APIVersion": "4.3.1"}}), None),
            (json!({}), None),
            (Value::Null, None),
        ] {
            assert_eq!(Maker::of(&version), expected, "{version}");
        }
    }

    #[test]
    fn takes_engines_whose_cgroups_it_can_guard() {
        let info = |driver: &str, options: &[&str]| {
            fitness(&json!({"CgroupDriver": driver, "SecurityOptions": options}))
        };
        let seccomp = "name=seccomp,profile=default";
        let docker = |has_systemd| Ok(Kind::Docker { has_systemd });
        assert_eq!(info("cgroupfs", &[seccomp]), docker(false));
        assert_eq!(info("systemd", &[seccomp]), docker(true));
        info("none", &[seccomp]).unwrap_err();
        info("cgroupfs", &[seccomp, "name=rootless"]).unwrap_err();
        fitness(&json!({"CgroupDriver": "cgroupfs"})).unwrap_err();
        fitness(&Value::Null).unwrap_err();
    }
}
