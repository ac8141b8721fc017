//! The container from its creation to the moment before its start.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    EngineError,
    engine::{Engine, Kind},
    facts::Facts,
    flags::{self, Flags, Split},
    holder,
    judge::{self, Given, Refusal},
    place::{self, Cgroup},
};
use crate::{
    backend::linux::{
        cgroup::Hierarchy,
        exposed::{self, Exposed},
        netns::Netns,
        spawn::PlainChild,
        user::{self, Wishes},
    },
    session::{SessionError, run_dir::RunDir, supervise::End},
    tls::ChildTrust,
};

/// SIGINT, as statuses name it.
const INTERRUPT: u8 = 2;

/// What nobody may have mounted: there httpjail and engines keep what they act on as root, for all of
/// the machine.
const CLOSED: [&str; 7] = [
    "/run/containerd",
    "/run/docker",
    "/run/docker.sock",
    "/run/httpjail",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
];

/// What there is around a container before it is there.
#[derive(Clone, Copy)]
pub(super) struct Place<'e, 'a> {
    pub(super) engine: &'e Engine<'e>,
    pub(super) hierarchy: &'a Hierarchy,
    pub(super) run_dir: &'a RunDir,
    pub(super) cgroup: &'a Cgroup,
    /// The folder of the certificates, which the container sees under the same path.
    pub(super) certificates: &'a Path,
    pub(super) trust: &'a ChildTrust,
    /// Sockets that may be mounted.
    pub(super) sockets: &'a [PathBuf],
}

/// A container that was created, or runs. Dropped, it is removed, unless it is to stay.
pub(super) struct Container<'e> {
    engine: &'e Engine<'e>,
    id: String,
    /// The one that holds its network namespace, if the engine needs one.
    holder: Option<String>,
    /// More arguments for its start.
    start: Vec<OsString>,
    facts: Facts,
    stays: bool,
}

impl<'e> Container<'e> {
    /// Has the engine create it with the user's arguments, judges what came of them, and finds its
    /// network namespace.
    ///
    /// # Errors
    ///
    /// When the engine doesn't, or the container would have ways past its guards.
    pub(super) fn create(
        place: Place<'e, '_>,
        args: &[OsString],
    ) -> Result<(Self, Netns), SessionError> {
        let Place { engine, run_dir, .. } = place;
        let Split { create, start } = split(engine, args)?;
        let made = match engine.kind {
            Kind::Docker { .. } => None,
            Kind::Podman => {
                let netns = Netns::make().map_err(EngineError::Netns)?;
                netns.pin(&run_dir.netns()).map_err(EngineError::Netns)?;
                Some(netns)
            }
        };
        let holder = made.is_none().then(|| format!("httpjail-{}", run_dir.id()));
        let network = match &holder {
            Some(name) => format!("container:{name}"),
            None => format!("ns:{}", run_dir.netns().display()),
        };
        let parent = place.cgroup.name.as_str();
        let ours = place.args(&network).into_iter();
        let said = engine.say("create the container", ours.chain(create))?;
        let id = id(&said).ok_or_else(|| engine.unclear("the new container"))?;
        // From here on it is removed, whatever comes.
        let facts = Facts::default();
        let mut container = Self { engine, id, holder: None, start, facts, stays: false };
        let noted = [Some(container.id.as_str()), holder.as_deref()];
        let noted: Vec<_> = noted.into_iter().flatten().collect();
        engine.note(run_dir, &noted).map_err(SessionError::RunDir)?;
        let given = Given { network: &network, cgroup_parent: parent };
        container.facts = place.facts(&container.id)?;
        place.judge(&container.facts, given, &container.id)?;
        let netns = match (made, holder) {
            // Podman has the container ready, with all that it makes for it.
            (Some(netns), _) => {
                place.is_where_it_should_be(&container.id, Some(&netns))?;
                netns
            }
            (None, Some(name)) => {
                let netns = container.hold(place, name)?;
                // Once more: for its first container an engine makes sockets and mounts.
                place.look(&container.facts, &container.id)?;
                netns
            }
            (None, None) => return Err(EngineError::Elsewhere.into()),
        };
        Ok((container, netns))
    }

    /// Starts another container of the same image that only waits, and takes its network.
    fn hold(&mut self, place: Place<'_, '_>, name: String) -> Result<Netns, SessionError> {
        let program = place.run_dir.path().join("hold");
        holder::write(&program).map_err(SessionError::RunDir)?;
        let mount = format!("--volume={}:{}:ro,z", program.display(), holder::PROGRAM);
        let entry = format!("--entrypoint={}", holder::PROGRAM);
        let parent = format!("--cgroup-parent={}", place.cgroup.name);
        let named = format!("--name={name}");
        let args = [
            "run",
            "--detach",
            "--rm",
            "--network=none",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--user=65534:65534",
            "--no-healthcheck",
            &named,
            &parent,
            &mount,
            &entry,
            &self.facts.image,
        ];
        let holder = self.holder.insert(name);
        self.engine.say("start the container that holds the network", args)?;
        let netns = place.is_where_it_should_be(holder, None)?;
        netns.enable_ipv6().map_err(EngineError::Netns)?;
        Ok(netns)
    }

    /// What starts it, and stays until it ends.
    pub(super) fn start_args(&self) -> Vec<OsString> {
        let interactive = self.facts.interactive.then(|| "--interactive".into());
        let words = ["container", "start", "--attach"].map(OsString::from).into_iter();
        let id = OsString::from(&self.id);
        words.chain(interactive).chain(self.start.iter().cloned()).chain([id]).collect()
    }

    /// How it ended, as the engine tells it, where the status of the tool that started it says
    /// otherwise. `None`: as the tool says.
    pub(super) fn end(&self, told: End) -> Option<End> {
        let inspected = self.engine.look(["container", "inspect", &self.id])?;
        let state = inspected.pointer("/0/State")?;
        let has_terminal = inspected.pointer("/0/Config/Tty")?.as_bool()?;
        if state.get("Running")?.as_bool()? {
            // The tool has left it: told so by a terminal's keys, or else by a signal, of which not
            // every version of docker's makes a status.
            let left = matches!(told, End::Exited(_)) && !has_terminal;
            return left.then_some(End::Signalled(INTERRUPT));
        }
        // The tool that can't start a container only says that it failed.
        let never = state.get("StartedAt")?.as_str()?.starts_with("0001-");
        let status = state.get("ExitCode")?.as_u64()?.try_into().ok()?;
        never.then_some(End::Exited(status))
    }

    /// Sends its first process a signal. Those about the terminal are for the tool that has it.
    pub(super) fn signal(&self, tool: &PlainChild, signal: i32) -> io::Result<()> {
        match signal {
            libc::SIGCONT | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU | libc::SIGWINCH => {
                tool.signal(signal)
            }
            other => {
                self.engine.send(&self.id, other);
                Ok(())
            }
        }
    }

    /// It is about to run: unless the engine is to remove it, it stays when it has ended.
    ///
    /// # Errors
    ///
    /// When that can't be noted.
    pub(super) fn starts(&mut self, run_dir: &RunDir) -> Result<(), SessionError> {
        self.stays = !self.facts.removed;
        if self.stays {
            let left: Vec<_> = self.holder.as_deref().into_iter().collect();
            self.engine.note(run_dir, &left).map_err(SessionError::RunDir)?;
        }
        Ok(())
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if !self.stays {
            self.engine.remove(&self.id);
        }
        self.holder.iter().for_each(|holder| self.engine.remove(holder));
    }
}

impl Place<'_, '_> {
    /// What is said before the user's own options, which win where they contradict; then the
    /// container is refused.
    fn args(&self, network: &str) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["create".into()];
        if self.engine.kind == Kind::Podman {
            // The process that watches over the container isn't jailed with it; and the container
            // doesn't hear of the caller's proxies.
            args.extend(["--cgroups=no-conmon", "--http-proxy=false"].map(OsString::from));
        }
        let folder = self.certificates.display();
        args.push(format!("--network={network}").into());
        args.push(format!("--cgroup-parent={}", self.cgroup.name).into());
        args.push(format!("--volume={folder}:{folder}:ro,z").into());
        let variables = self.trust.variables().iter().cloned();
        for (name, value) in user::child_environment([], variables, None, &Wishes::default()) {
            let mut arg = OsString::from("--env=");
            arg.push(name);
            arg.push("=");
            arg.push(value);
            args.push(arg);
        }
        args
    }

    fn facts(&self, id: &str) -> Result<Facts, EngineError> {
        const WHAT: &str = "the container";
        let engine = self.engine;
        let inspect = || engine.tell(WHAT, ["container", "inspect", id]);
        let facts = match engine.kind {
            Kind::Docker { .. } => Facts::of_docker(&inspect()?),
            Kind::Podman => {
                engine.say("prepare the container", ["container", "init", id])?;
                let inspected = inspect()?;
                let path = inspected.pointer("/0/OCIConfigPath").and_then(Value::as_str);
                let text = path.and_then(|path| fs::read(path).ok()).unwrap_or_default();
                let specification = serde_json::from_slice(&text);
                let specification = specification.map_err(|_| engine.unclear(WHAT))?;
                Facts::of_podman(&inspected, &specification)
            }
        };
        facts.ok_or_else(|| engine.unclear(WHAT))
    }

    fn judge(&self, facts: &Facts, given: Given<'_>, id: &str) -> Result<(), EngineError> {
        judge::judge(facts, given).map_err(EngineError::Refused)?;
        self.look(facts, id)?;
        let (_, volumes) = judge::mounts(facts).map_err(EngineError::Refused)?;
        for volume in volumes {
            let found = self.engine.tell("a volume", ["volume", "inspect", volume])?;
            if !is_plain(&found) {
                return Err(EngineError::Refused(Refusal::Volume(volume.to_owned())));
            }
        }
        Ok(())
    }

    /// Looks at what of the host is mounted.
    fn look(&self, facts: &Facts, id: &str) -> Result<(), EngineError> {
        let refused =
            |path: &Path, what: &Exposed| Err(EngineError::Refused(Refusal::exposed(path, what)));
        let roots = self.engine.root.iter().chain(&facts.root).cloned();
        let closed: Vec<_> = CLOSED.into_iter().map(PathBuf::from).chain(roots).collect();
        let (paths, _) = judge::mounts(facts).map_err(EngineError::Refused)?;
        for path in paths.iter().copied().chain(&facts.volumes) {
            if let Some(what) = exposed::closed(path, &closed)
                && !self.is_given(path, facts, id)
            {
                return refused(path, &what);
            }
            match exposed::through(path, self.sockets) {
                Ok(None) => {}
                // Nothing is there, and an empty folder if the engine makes it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(Some(what)) => return refused(path, &what),
                Err(source) => return Err(EngineError::Mount { path: path.clone(), source }),
            }
        }
        Ok(())
    }

    /// Whether a path that others may not have mounted is for this container: the run's certificates,
    /// what the engine keeps for it (under its id, which nobody can know beforehand), its volumes, and a
    /// socket that was opened on purpose.
    fn is_given(&self, path: &Path, facts: &Facts, id: &str) -> bool {
        let real = exposed::real(path);
        let is_volume = |volume: &PathBuf| real == exposed::real(volume);
        real == exposed::real(self.certificates)
            || real.components().any(|part| part.as_os_str() == id)
            || facts.volumes.iter().any(is_volume)
            || self.sockets.contains(&real) && exposed::is_socket(&real)
    }

    /// Makes sure that the container's first process is in the jail's cgroup, and in the network
    /// namespace `expected`, if that is known; the namespace that it's in.
    fn is_where_it_should_be(
        &self,
        container: &str,
        expected: Option<&Netns>,
    ) -> Result<Netns, SessionError> {
        let said = self.engine.tell("the container", ["container", "inspect", container])?;
        let pid = said.pointer("/0/State/Pid").and_then(Value::as_u64);
        let pid = pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
        let pid = pid.ok_or(EngineError::Elsewhere)?;
        let netns = Netns::of_process(pid).map_err(|_| EngineError::Elsewhere)?;
        // Asked after the rest: by then the process would be another one of the jail's at worst.
        let is_jailed = place::holds(&self.cgroup.path, self.hierarchy, pid);
        let is_expected = expected.map_or(Ok(true), |expected| netns.is(expected));
        if is_jailed && is_expected.map_err(EngineError::Netns)? {
            Ok(netns)
        } else {
            Err(EngineError::Elsewhere.into())
        }
    }
}

/// Tells options of `run` apart, where there are any.
fn split(engine: &Engine<'_>, args: &[OsString]) -> Result<Split, EngineError> {
    let has_options = args.first().is_some_and(|arg| arg.as_encoded_bytes().starts_with(b"-"));
    if !has_options {
        return Ok(Split { create: args.to_vec(), start: Vec::new() });
    }
    let help = |subcommand| {
        let said = engine.say("read the options", ["container", subcommand, "--help"])?;
        Ok::<_, EngineError>(Flags::parse(&String::from_utf8_lossy(&said)))
    };
    flags::split(args, &[help("run")?, help("create")?, help("start")?])
}

/// The id that `create` prints last.
fn id(said: &[u8]) -> Option<String> {
    let said = str::from_utf8(said).ok()?;
    let id = said.lines().rfind(|line| !line.trim().is_empty())?.trim();
    let is_hex = id.len() >= 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| id.to_owned())
}

/// Whether a volume is a folder of the engine's own.
fn is_plain(volume: &Value) -> bool {
    let driver = volume.pointer("/0/Driver").and_then(Value::as_str);
    let has_none = match volume.pointer("/0/Options") {
        None | Some(Value::Null) => true,
        Some(options) => options.as_object().is_some_and(serde_json::Map::is_empty),
    };
    driver == Some("local") && has_none
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn takes_the_last_line_for_the_id() {
        assert_eq!(id(b"0123456789abcdef\n").unwrap(), "0123456789abcdef");
        assert_eq!(id(b"pulled x\n0123456789ab\n\n").unwrap(), "0123456789ab");
        for other in [&b""[..], b"\n", b"--force", b"0123", b"0123456789ab x"] {
            assert_eq!(id(other), None);
        }
    }

    #[test]
    fn a_volume_with_options_may_be_anything() {
        assert!(is_plain(&json!([{"Driver": "local", "Options": null}])));
        assert!(is_plain(&json!([{"Driver": "local", "Options": {}}])));
        assert!(!is_plain(&json!([{"Driver": "local", "Options": {"device": "/run"}}])));
        assert!(!is_plain(&json!([{"Driver": "nfs", "Options": {}}])));
        assert!(!is_plain(&json!([])));
    }
}
