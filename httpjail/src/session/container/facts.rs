//! What the engine made of the user's arguments, read from the created container.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// What there is to know of a container before it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) image: String,
    /// Whether its standard input stays open.
    pub(super) interactive: bool,
    /// Whether the engine removes it at its end.
    pub(super) removed: bool,
    pub(super) network: String,
    pub(super) cgroup_parent: String,
    /// What is shared with the host or with others.
    pub(super) shared: Vec<&'static str>,
    pub(super) privileged: bool,
    pub(super) capabilities: Vec<String>,
    pub(super) security: Vec<String>,
    /// What of the kernel's settings it can only read.
    pub(super) read_only: Vec<String>,
    /// Whether the engine starts it anew at its end.
    pub(super) restarted: bool,
    /// Whether ports of the host lead to it.
    pub(super) published: bool,
    pub(super) mounts: Vec<Mount>,
    /// Where volumes are.
    pub(super) volumes: Vec<PathBuf>,
    /// The folder of the engine's images and containers, where that of the container tells.
    pub(super) root: Option<PathBuf>,
}

/// Something that the container sees and that isn't its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mount {
    /// A file or folder of the host.
    Bind(PathBuf),
    /// A volume by its name, or what the engine calls it.
    Volume(String),
    /// What nobody here knows.
    Other(String),
}

impl Facts {
    /// Those of docker, which `inspect` tells of what it has created. `None`: something is missing.
    pub(super) fn of_docker(inspected: &Value) -> Option<Self> {
        let container = inspected.as_array()?.first()?;
        let host = container.get("HostConfig")?;
        let shared =
            [("processes", mode(host, "PidMode")?), ("shared memory", mode(host, "IpcMode")?)];
        let shared = shared.into_iter().filter(|(_, mode)| !is_own(mode)).map(|(what, _)| what);
        Some(Self {
            shared: shared.collect(),
            capabilities: list(host, "CapAdd")?,
            read_only: list(host, "ReadonlyPaths")?,
            ..Self::of_both(container)?
        })
    }

    /// Those of podman. What `inspect` tells is what was asked for, and not all of it; the
    /// specification (OCI runtime specification, "Configuration") is what the runtime has done when
    /// the container is initialized.
    pub(super) fn of_podman(inspected: &Value, specification: &Value) -> Option<Self> {
        let container = inspected.as_array()?.first()?;
        let both = Self::of_both(container)?;
        let linux = specification.get("linux")?;
        let namespaces = linux.get("namespaces")?.as_array()?;
        let is_own = |kind: &str| {
            namespaces.iter().any(|it| {
                it.get("type").and_then(Value::as_str) == Some(kind) && it.get("path").is_none()
            })
        };
        let kinds = [("processes", "pid"), ("shared memory", "ipc"), ("mounts", "mount")];
        let mut shared: Vec<_> =
            kinds.into_iter().filter(|(_, kind)| !is_own(kind)).map(|(what, _)| what).collect();
        shared.extend((!text(container, "Pod")?.is_empty()).then_some("a pod"));
        let sets = specification.get("process")?.get("capabilities")?.as_object()?.values();
        let capabilities = sets.filter_map(Value::as_array).flatten();
        let capabilities = capabilities.map(|it| it.as_str().map(str::to_owned));
        let binds = specification.get("mounts")?.as_array()?.iter().filter_map(bind);
        Some(Self {
            shared,
            capabilities: capabilities.collect::<Option<_>>()?,
            read_only: list(linux, "readonlyPaths")?,
            root: Some(storage(&text(container, "StaticDir")?)?),
            mounts: both.mounts.iter().cloned().chain(binds).collect(),
            ..both
        })
    }

    fn of_both(container: &Value) -> Option<Self> {
        let (host, config) = (container.get("HostConfig")?, container.get("Config")?);
        let restart = host.get("RestartPolicy")?.get("Name")?.as_str()?;
        let ports = host.get("PortBindings")?;
        let has_ports = ports.as_object().is_some_and(|ports| !ports.is_empty());
        let listed = container.get("Mounts")?.as_array()?;
        let mounts = listed.iter().map(Mount::read);
        let is_volume =
            |mount: &&Value| mount.get("Type").and_then(Value::as_str) == Some("volume");
        let volumes = listed.iter().filter(is_volume);
        let volumes = volumes.map(|mount| text(mount, "Source").map(PathBuf::from));
        Some(Self {
            image: text(container, "Image")?,
            interactive: flag(config, "OpenStdin")?,
            removed: flag(host, "AutoRemove")?,
            network: text(host, "NetworkMode")?,
            cgroup_parent: text(host, "CgroupParent")?,
            shared: Vec::new(),
            privileged: flag(host, "Privileged")?,
            capabilities: Vec::new(),
            security: list(host, "SecurityOpt")?,
            read_only: Vec::new(),
            restarted: !matches!(restart, "" | "no"),
            published: has_ports || flag(host, "PublishAllPorts")?,
            mounts: mounts.collect::<Option<_>>()?,
            volumes: volumes.collect::<Option<_>>()?,
            root: None,
        })
    }
}

impl Mount {
    fn read(mount: &Value) -> Option<Self> {
        Some(match mount.get("Type")?.as_str()? {
            "bind" => Self::Bind(text(mount, "Source")?.into()),
            "volume" => Self::Volume(text(mount, "Name")?),
            // Memory of its own, or the files of another image.
            "tmpfs" | "image" => return Some(Self::Volume(String::new())),
            other => Self::Other(other.to_owned()),
        })
    }

    /// Whether nothing of the host is in it.
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Volume(name) if name.is_empty())
    }
}

/// A mount of the specification, if it is of the host's files.
fn bind(mount: &Value) -> Option<Mount> {
    let is_bind = |option: &Value| matches!(option.as_str(), Some("bind" | "rbind"));
    let has_option = mount.get("options").and_then(Value::as_array);
    let is_bind = has_option.is_some_and(|options| options.iter().any(is_bind))
        || mount.get("type").and_then(Value::as_str) == Some("bind");
    is_bind.then(|| text(mount, "source").map(|source| Mount::Bind(source.into()))).flatten()
}

/// Podman's storage, by the folder of a container (`ROOT/DRIVER-containers/ID/userdata`).
fn storage(container: &str) -> Option<PathBuf> {
    Path::new(container).ancestors().nth(3).map(Path::to_owned)
}

/// Of a namespace: nobody else's.
fn is_own(mode: &str) -> bool {
    matches!(mode, "" | "none" | "private" | "shareable")
}

fn mode<'a>(host: &'a Value, name: &str) -> Option<&'a str> {
    host.get(name)?.as_str()
}

fn text(object: &Value, name: &str) -> Option<String> {
    object.get(name)?.as_str().map(str::to_owned)
}

fn flag(object: &Value, name: &str) -> Option<bool> {
    object.get(name)?.as_bool()
}

/// A list of texts; one that isn't there is empty.
fn list(object: &Value, name: &str) -> Option<Vec<String>> {
    match object.get(name) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(list) => list.as_array()?.iter().map(|it| it.as_str().map(str::to_owned)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inspected() -> Value {
        json!([{
            "Image": "sha256:1", "Pod": "", "StaticDir": "/r/vfs-containers/1/userdata",
            "Config": {"OpenStdin": true},
            "Mounts": [
                {"Type": "bind", "Source": "/srv"},
                {"Type": "volume", "Name": "v", "Source": "/r/volumes/v/_data"},
                {"Type": "tmpfs", "Source": ""},
                {"Type": "npipe"},
            ],
            "HostConfig": {
                "AutoRemove": true, "NetworkMode": "n", "CgroupParent": "/p", "Privileged": false,
                "SecurityOpt": null, "RestartPolicy": {"Name": "no"}, "PortBindings": {},
                "PublishAllPorts": false, "PidMode": "", "IpcMode": "private", "CapAdd": null,
                "ReadonlyPaths": ["/proc/sys"],
            },
        }])
    }

    fn set(inspected: &mut Value, name: &str, value: Value) {
        inspected[0]["HostConfig"][name] = value;
    }

    #[test]
    fn reads_dockers() {
        let facts = Facts::of_docker(&inspected()).unwrap();
        assert!(facts.interactive && facts.removed && !facts.published && !facts.restarted);
        assert_eq!((facts.network.as_str(), facts.cgroup_parent.as_str()), ("n", "/p"));
        assert_eq!(facts.read_only, ["/proc/sys"]);
        assert!(facts.shared.is_empty() && facts.capabilities.is_empty());
        let [bind, volume, own, other] = facts.mounts.try_into().unwrap();
        assert_eq!((bind, volume), (Mount::Bind("/srv".into()), Mount::Volume("v".to_owned())));
        assert!(own.is_own());
        assert_eq!(other, Mount::Other("npipe".to_owned()));
    }

    #[test]
    fn tells_what_is_shared_and_published() {
        let mut all = inspected();
        set(&mut all, "PidMode", json!("host"));
        set(&mut all, "IpcMode", json!("container:x"));
        set(&mut all, "PortBindings", json!({"80/tcp": [{"HostPort": "80"}]}));
        set(&mut all, "RestartPolicy", json!({"Name": "always"}));
        let facts = Facts::of_docker(&all).unwrap();
        assert_eq!(facts.shared, ["processes", "shared memory"]);
        assert!(facts.published && facts.restarted);
    }

    #[test]
    fn what_is_missing_is_no_answer() {
        for name in ["NetworkMode", "Privileged", "PidMode", "CgroupParent", "RestartPolicy"] {
            let mut some = inspected();
            some[0]["HostConfig"].as_object_mut().unwrap().remove(name);
            assert_eq!(Facts::of_docker(&some), None, "{name}");
        }
        assert_eq!(Facts::of_docker(&json!([])), None);
    }

    #[test]
    fn reads_what_podmans_runtime_has_done() {
        let mut specification = json!({
            "process": {"capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_BPF"]}},
            "mounts": [
                {"destination": "/a", "type": "bind", "source": "/x", "options": ["rbind"]},
                {"destination": "/b", "source": "/y", "options": ["bind", "ro"]},
                {"destination": "/proc", "type": "proc", "source": "proc", "options": []},
            ],
            "linux": {
                "namespaces": [{"type": "pid"}, {"type": "ipc", "path": "/z"}, {"type": "mount"}],
                "readonlyPaths": ["/proc/sys"],
            },
        });
        let facts = Facts::of_podman(&inspected(), &specification).unwrap();
        assert_eq!(facts.capabilities, ["CAP_KILL", "CAP_BPF"]);
        assert_eq!(facts.shared, ["shared memory"]);
        assert_eq!(facts.root, Some("/r".into()));
        assert_eq!(facts.volumes, [Path::new("/r/volumes/v/_data")]);
        assert!(facts.mounts.ends_with(&[Mount::Bind("/x".into()), Mount::Bind("/y".into())]));
        specification["linux"]["namespaces"] = json!([]);
        let facts = Facts::of_podman(&inspected(), &specification).unwrap();
        assert_eq!(facts.shared, ["processes", "shared memory", "mounts"]);
        specification["linux"] = json!({});
        assert_eq!(Facts::of_podman(&inspected(), &specification), None);
    }
}
