//! Installing: Debian's packages, programs from crates.io, components of the toolchain.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::needs::Crate;
use crate::tools;

/// Installs packages with apt-get, as root or through sudo.
///
/// # Errors
/// Where there is no apt-get, says what to install; else what apt-get said.
pub(super) fn packages(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    ensure!(
        tools::find("apt-get").is_some(),
        "this machine has no apt-get; please install what Debian calls: {}",
        packages.join(" ")
    );
    let how = format!("apt-get install {}", packages.join(" "));
    ensure!(
        tools::is_root() || tools::find("sudo").is_some(),
        "neither root nor sudo; please run as root: {how}"
    );
    tools::run(tools::as_root("sh").args(["-c", APT, "apt"]).args(packages).stdin(Stdio::inherit()))
        .with_context(|| format!("failed to install packages ({how})"))
}

/// Installs a program from crates.io.
///
/// # Errors
/// When cargo can't fetch or build it.
pub(super) fn program(program: &Crate) -> Result<()> {
    let mut cargo = tools::cargo();
    cargo.args(["install", "--locked", "--quiet", "--version", program.version]);
    cargo.args(program.args).arg(program.name).envs(program.env.iter().copied());
    tools::run(&mut cargo)
}

/// Installs a package of the Python index, which brings its program in itself, into a folder of the
/// workspace's own: the system's Python isn't touched.
///
/// # Errors
/// When pip can't fetch it.
pub(super) fn python(package: &str, version: &str) -> Result<()> {
    let mut pip = Command::new("/usr/bin/python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--root-user-action=ignore", "--only-binary", ":all:", "--upgrade", "--target"]);
    tools::run(pip.arg(python_folder()).arg(format!("{package}=={version}")))
}

/// Installs a program of the Python index with what it depends on, into an environment of its own.
///
/// # Errors
/// When the environment can't be made, or pip can't fetch something.
pub(super) fn python_program(name: &str, version: &str) -> Result<()> {
    let environment = environment(name);
    tools::run(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&environment))?;
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--prefer-binary"]);
    tools::run(pip.arg(format!("{name}=={version}")))
}

/// Where the mitmproxy that needs no terminal is, once it is installed.
pub(crate) fn mitmdump() -> PathBuf {
    environment("mitmproxy").join("bin/mitmdump")
}

fn environment(name: &str) -> PathBuf {
    tools::workspace().join("target").join(name)
}

/// Where the linker that knows macOS is, once it is installed.
pub(crate) fn zig() -> PathBuf {
    python_folder().join("ziglang/zig")
}

fn python_folder() -> PathBuf {
    tools::workspace().join("target/python")
}

/// Adds a component to the toolchain in use.
///
/// # Errors
/// When rustup is missing or can't fetch it.
pub(super) fn component(name: &str) -> Result<()> {
    tools::run(Command::new("rustup").args(["component", "add", name]))
}

/// Installs its arguments; refreshes the package lists only if that fails at first. No service
/// of an installed package is started, now (policy-rc.d) or at the next boot (disable).
const APT: &str = r#"
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
install() {
    apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@" </dev/null >&2
}
install "$@" 2>/dev/null || {
    apt-get -qq -o DPkg::Lock::Timeout=300 update >&2
    install "$@"
}
for package in "$@"; do
    case "$package" in
        nginx*) systemctl disable nginx 2>/dev/null || : ;;
        squid*) systemctl disable squid 2>/dev/null || : ;;
    esac
done
"#;
