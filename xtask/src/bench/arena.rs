//! Where the measuring happens: namespaces that end with it, so that nothing can be left behind.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::run::{self, Profile};
use crate::tools;

/// The binary that is measured: the one that was named, else a fresh release build.
///
/// # Errors
/// When there is none of that name, or it can't be built.
pub(super) fn binary(named: Option<&Path>) -> Result<PathBuf> {
    match named {
        Some(binary) => {
            fs::canonicalize(binary).with_context(|| format!("failed to find {}", binary.display()))
        }
        None => run::build(Profile::Release),
    }
}

/// Becomes the measuring process, this program with the arguments `inside`, in new network, mount
/// and PID namespaces. They end with their first process, however it ends, and take with them every
/// server, link, table and file of the arena; then the idle state of `httpjail` is removed.
///
/// # Errors
/// Returns only when something failed before the measuring began.
pub(super) fn enter(httpjail: &Path, inside: &[OsString]) -> Result<()> {
    let measuring = std::env::current_exe().context("failed to find this program's own file")?;
    let mut command = tools::as_root("sh");
    command.args(["-c", OUTSIDE, "sh"]).arg(httpjail);
    command.args(["setpriv", "--pdeathsig", "KILL"]);
    command.args(["unshare", "--net", "--mount", "--propagation", "private"]);
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["sh", "-c", FIRST_PROCESS, "sh"]);
    command.arg(measuring).args(inside);
    let error = command.exec();
    Err(error).with_context(|| format!("failed to start {}", tools::line(&command)))
}

/// Survives ^C, which ends the rest, to remove the parent cgroup that httpjail keeps for its next
/// run. A trap that does something is reset in children, unlike an ignored signal.
const OUTSIDE: &str = r#"
httpjail=$1
shift
trap : INT TERM HUP
"$@"
status=$?
case $httpjail in
    */true) ;;
    *) "$httpjail" cleanup --all ;;
esac
exit $status
"#;

/// The first process of a PID namespace ignores ^C, so the measuring is its child; when that ends,
/// so does the namespace with all in it.
const FIRST_PROCESS: &str = r#""$@"; exit $?"#;

/// The folder of the arena, on a file system of its own in memory.
const FOLDER: &str = "/srv";

/// The address of the origin: it looks like any address of the Internet, and has no route outside.
pub(super) const ORIGIN: &str = "45.67.89.1";

/// The names that resolve to the origin.
pub(super) const NAMES: [&str; 2] = ["github.com", "x.bench.test"];

/// Readies the namespaces that this process was born into and returns the arena's folder.
pub(super) fn prepare() -> Result<PathBuf> {
    ensure!(
        std::process::id() < 100,
        "the measuring runs in a PID namespace of its own: use `cargo xtask bench`"
    );
    for folder in [FOLDER, "/dev/shm"] {
        tools::run(Command::new("mount").args([
            "-t",
            "tmpfs",
            "-o",
            "mode=1777",
            "bench",
            folder,
        ]))?;
    }
    let folder = PathBuf::from(FOLDER);
    fs::write(folder.join("hosts"), hosts())?;
    loopback_up(&mut Command::new("ip"))?;
    tune(&mut Command::new("sysctl"))?;
    Ok(folder)
}

fn hosts() -> String {
    format!("127.0.0.1 localhost\n{ORIGIN} {}\n", NAMES.join(" "))
}

/// A network namespace, alive as long as the process that holds it.
pub(super) struct Namespace {
    holder: Child,
}

impl Namespace {
    /// Makes a namespace with nothing but its loopback device.
    pub(super) fn new() -> Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; read end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start unshare")?;
        super::program::wait_for_line(&mut holder, "ready")?;
        let namespace = Self { holder };
        loopback_up(&mut namespace.command("ip"))?;
        tune(&mut namespace.command("sysctl"))?;
        Ok(namespace)
    }

    /// A command that will run in this namespace.
    pub(super) fn command(&self, program: impl Into<OsString>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg(program.into());
        command
    }

    /// Lays a cable to this namespace, in which the origin lives, from where `ip` runs.
    ///
    /// `number` tells cables apart. Only the origin's address gets a route.
    pub(super) fn lay_cable(&self, number: u8, ip: impl Fn() -> Command) -> Result<()> {
        let near = format!("bench{number}");
        let far = format!("client{number}");
        let (near_address, far_address) =
            (format!("45.67.{}.1/24", 90 + number), format!("45.67.{}.2/24", 90 + number));
        let holder = self.holder.id().to_string();
        tools::run(
            ip().args(["link", "add", &near, "type", "veth", "peer", "name", &far])
                .args(["netns", holder.as_str()]),
        )?;
        tools::run(ip().args(["address", "add", &near_address, "dev", &near]))?;
        tools::run(ip().args(["link", "set", &near, "up"]))?;
        tools::run(self.command("ip").args(["address", "add", &far_address, "dev", &far]))?;
        tools::run(self.command("ip").args(["link", "set", &far, "up"]))?;
        tools::run(ip().args(["route", "add", ORIGIN, "dev", &near]))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The holder reads its standard input; the handle's end ends it.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn loopback_up(ip: &mut Command) -> Result<()> {
    tools::run(ip.args(["link", "set", "lo", "up"]))
}

fn tune(sysctl: &mut Command) -> Result<()> {
    sysctl.args(["-q", "-w", "net.core.somaxconn=4096", "net.ipv4.tcp_max_syn_backlog=4096"]);
    set_ports(sysctl, Ports::OfTheArena)
}

/// Which local ports connections get.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ports {
    /// Nearly all, and again as soon as possible: loads with a new connection per request would run
    /// out of them, whoever is measured.
    OfTheArena,
    /// Those that a system's connections get, unless it was tuned.
    OfASystem,
}

/// Sets which local ports connections get where `sysctl` runs.
pub(super) fn set_ports(sysctl: &mut Command, ports: Ports) -> Result<()> {
    let settings = match ports {
        Ports::OfTheArena => ["net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=2048 65000"],
        Ports::OfASystem => ["net.ipv4.tcp_tw_reuse=2", "net.ipv4.ip_local_port_range=32768 60999"],
    };
    tools::run(sysctl.args(["-q", "-w"]).args(settings))
}

/// The path of the names file in the arena's folder.
pub(super) fn hosts_file(folder: &Path) -> PathBuf {
    folder.join("hosts")
}
