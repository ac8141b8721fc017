//! Container engines in the lab: podman, and docker with an engine of the lab's own, with images
//! made of this machine's files. Nothing is pulled, and nothing of the machine's engines is touched.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cgroup::Cgroup;
use crate::invocation::Invocation;
use crate::lab::Lab;
use crate::process::Running;
use crate::{DEADLINE, programs, records};

/// The image of every test: a shell and what goes with it, of one static program.
pub const IMAGE: &str = "localhost/lab:1";
/// Programs of the image's own, as links to it.
const APPLETS: [&str; 9] = ["cat", "env", "ls", "nc", "nslookup", "sh", "sleep", "true", "wget"];
/// More descriptors than that a container may not have where a test is started with few.
const DESCRIPTORS: &str = "512";

/// An engine and its one image. Dropped, what it made goes, too.
#[derive(Debug)]
pub struct Containers<'lab> {
    lab: &'lab Lab,
    tool: &'static str,
    environment: Vec<(&'static str, OsString)>,
    /// The engine, where it's a process of its own, and its cgroup.
    engine: Option<(Running, Cgroup)>,
}

impl<'lab> Containers<'lab> {
    /// Podman, with its files in the lab's folder.
    ///
    /// # Panics
    /// When it isn't installed, or can't import the image.
    #[must_use]
    pub fn podman(lab: &'lab Lab, more: &[&str]) -> Self {
        let home = lab.home();
        let own = |name: &str| home.join("podman").join(name).display().to_string();
        let limits = format!("[\"nofile={DESCRIPTORS}:{DESCRIPTORS}\", \"nproc=1000:1000\"]");
        // The lab may stand on a machine with both versions of cgroups, which crun refuses.
        let conf = format!(
            "[containers]\ndefault_ulimits = {limits}\n[engine]\nruntime = \"runc\"\n\
             cgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n"
        );
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
            own("storage"),
            own("run")
        );
        let write = |name: &str, text: &str| {
            fs::create_dir_all(home.join("podman")).expect("the lab's folder can be written to");
            let path = home.join("podman").join(name);
            fs::write(&path, text).expect("the lab's folder can be written to");
            path.into_os_string()
        };
        let environment = vec![
            ("CONTAINERS_CONF", write("containers.conf", &conf)),
            ("CONTAINERS_STORAGE_CONF", write("storage.conf", &storage)),
        ];
        let this = Self { lab, tool: "podman", environment, engine: None };
        this.import(more);
        this
    }

    /// Docker's tool and an engine of the lab's own.
    ///
    /// # Panics
    /// When it isn't installed, or can't import the image.
    #[must_use]
    pub fn docker(lab: &'lab Lab, more: &[&str]) -> Self {
        let folder = lab.home().join("docker");
        fs::create_dir_all(&folder).expect("the lab's folder can be written to");
        let own = |name: &str| folder.join(name).display().to_string();
        let host = format!("unix://{}", own("socket"));
        let dockerd = programs::require("dockerd").display().to_string();
        let script = format!(
            "ulimit -n 1024; exec {dockerd} --storage-driver=vfs --iptables=false --bridge=none \
             --default-ulimit nofile={DESCRIPTORS}:{DESCRIPTORS} \
             --exec-opt native.cgroupdriver=cgroupfs --data-root '{}' --exec-root '{}' \
             --pidfile '{}' --host '{host}'",
            own("data"),
            own("exec"),
            own("pid")
        );
        let cgroup = Cgroup::new(&format!("docker-of-{}", lab.cgroup().name().replace('/', "-")));
        let engine = lab.outside().in_cgroup(cgroup.path()).start(["/bin/sh", "-c", &script]);
        engine.error_line("API listen on");
        let environment = vec![("DOCKER_HOST", host.into())];
        let this = Self { lab, tool: "docker", environment, engine: Some((engine, cgroup)) };
        this.import(more);
        this
    }

    /// Makes the image of busybox and `more` programs with their libraries.
    fn import(&self, more: &[&str]) {
        let root = self.lab.home().join("root");
        let bin = root.join("bin");
        for folder in ["bin", "tmp", "etc", "run"] {
            fs::create_dir_all(root.join(folder)).expect("the lab's folder can be written to");
        }
        let busybox = programs::require("busybox");
        fs::copy(busybox, bin.join("busybox")).expect("the lab's folder can be written to");
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).expect("a new link");
        }
        for program in more {
            furnish(&root, &programs::require(program));
        }
        let tar = "tar -C root -cf root.tar . && rm -r root";
        self.lab.outside().sh(tar).exits(0);
        self.outside().run([self.tool, "import", "root.tar", IMAGE]).exits(0);
    }

    /// The engine's tool without a jail, whose containers have the client's network.
    #[must_use]
    pub fn outside(&self) -> Invocation<'lab> {
        self.with_environment(self.lab.outside())
    }

    /// The same as a line of a script.
    #[must_use]
    pub fn exports(&self) -> String {
        let assign = |(name, value): &(&str, OsString)| format!("{name}='{}' ", value.display());
        let assigned: String = self.environment.iter().map(assign).collect();
        format!("export {assigned}\n")
    }

    /// Arguments that run a container of the image without a jail, in the client's network.
    #[must_use]
    pub fn twin(&self, options: &[&str], command: &[&str]) -> Vec<String> {
        let parent = format!("--cgroup-parent={}", self.lab.cgroup().name());
        let fixed = [self.tool, "run", "--rm", "--network=host", &parent];
        let words = fixed.iter().chain(options).chain([&IMAGE]).chain(command);
        words.map(|word| (*word).to_owned()).collect()
    }

    /// A container to be run in a jail, whose records are kept for [`Containers::assert_clean`].
    #[must_use]
    pub fn jail(&self) -> Invocation<'lab> {
        let jail = self.lab.jail().option("--docker-run").option("--engine").option(self.tool);
        self.with_environment(jail).option("--record").option(self.record_file())
    }

    /// What the jails recorded.
    #[must_use]
    pub fn records(&self) -> Vec<Value> {
        records::read(&self.record_file())
    }

    /// What the engine knows of containers, by one line for each.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        let listed = self.outside().run([self.tool, "ps", "--all", "--format", "{{.Names}}"]);
        listed.exits(0).stdout.lines().map(str::to_owned).collect()
    }

    /// Proves that nothing is left of the jails that have recorded something.
    ///
    /// # Panics
    /// When something is.
    pub fn assert_clean(&self) {
        assert_eq!(self.all(), Vec::<String>::new(), "containers are left");
        let jails: BTreeSet<_> =
            self.records().iter().filter_map(|it| it["jail"].as_str().map(str::to_owned)).collect();
        assert!(!jails.is_empty(), "nothing was recorded");
        // A dead run may be swept by another test's, which takes its time.
        let deadline = Instant::now() + DEADLINE;
        for jail in jails {
            loop {
                let run = Path::new("/run/httpjail").join(&jail);
                let mut left = cgroups_of(&jail);
                left.extend(run.exists().then_some(run));
                if left.is_empty() {
                    break;
                }
                assert!(Instant::now() < deadline, "something is left: {left:?}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        // Docker's own processes are in the lab until its end.
        if self.engine.is_none() {
            self.lab.assert_clean();
        }
    }

    fn record_file(&self) -> PathBuf {
        self.lab.home().join("records.jsonl")
    }

    fn with_environment(&self, invocation: Invocation<'lab>) -> Invocation<'lab> {
        self.environment.iter().fold(invocation, |it, (name, value)| it.env(name, value))
    }
}

impl Drop for Containers<'_> {
    /// Engines leave the parents of cgroups of version 1, and podman its monitor's, where there are such.
    fn drop(&mut self) {
        let name = self.lab.cgroup().name();
        for mount in legacy_mounts() {
            let parent = mount.join(name.trim_start_matches('/'));
            remove_empty(&parent.join("conmon"));
            remove_empty(&parent);
        }
    }
}

/// Removes a cgroup, as soon as the last process in it has ended.
fn remove_empty(cgroup: &Path) {
    let until = Instant::now() + DEADLINE;
    while fs::remove_dir(cgroup).is_err_and(|error| error.kind() == ErrorKind::ResourceBusy)
        && Instant::now() < until
    {
        std::thread::yield_now();
    }
}

/// Puts a program and its libraries into a root folder, at the paths that they have here.
fn furnish(root: &Path, program: &Path) {
    let listed = Command::new("ldd").arg(program).output().expect("ldd can be run");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let is_path = |word: &&str| word.starts_with('/');
    let libraries = listed.split_whitespace().filter(is_path).map(PathBuf::from);
    for file in libraries.chain([program.to_owned()]) {
        let place = root.join(file.strip_prefix("/").expect("an absolute path"));
        let folder = place.parent().expect("it isn't the root");
        fs::create_dir_all(folder).expect("the lab's folder can be written to");
        fs::copy(&file, &place).expect("a program's file");
    }
}

/// Where cgroups of version 1 are mounted.
fn legacy_mounts() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let lines = mounts.lines().filter(|line| line.contains(" - cgroup "));
    lines.filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

/// Cgroups of either version that are a jail's: below a parent at the root, or at the root itself.
fn cgroups_of(jail: &str) -> Vec<PathBuf> {
    let roots: Vec<_> = legacy_mounts().into_iter().chain([crate::cgroup::mount()]).collect();
    let parents = roots.iter().flat_map(|root| fs::read_dir(root).into_iter().flatten().flatten());
    let parents = parents.filter(|it| it.file_name().to_string_lossy().starts_with("httpjail-"));
    let below = parents.map(|parent| parent.path().join(format!("jail-{jail}")));
    let slices = roots.iter().map(|root| root.join(format!("httpjail-{jail}.slice")));
    below.chain(slices).filter(|path| path.exists()).collect()
}
