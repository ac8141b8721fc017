//! The programs that the suites drive, and where they come from.

use std::path::{Path, PathBuf};

/// Debian packages that the suites need; `cargo xtask setup` installs them.
pub const DEBIAN_PACKAGES: &[&str] = &[
    "bind9-dnsutils",
    "bpftool",
    "busybox-static",
    "ca-certificates",
    "chromium",
    "curl",
    "default-jre-headless",
    "docker.io",
    "dropbear-bin",
    "ecj",
    "gdb-minimal",
    "git",
    "golang-go",
    "iproute2",
    "iputils-ping",
    "jq",
    "libnss3-tools",
    "make",
    "netcat-openbsd",
    "nftables",
    "nghttp2-client",
    "node-ws",
    "nodejs",
    "npm",
    "openssh-client",
    "openssl",
    "passt",
    "podman",
    "postgresql-client",
    "python3",
    "python3-grpcio",
    "python3-h2",
    "python3-httpx",
    "python3-pip",
    "python3-requests",
    "python3-websockets",
    "runc",
    "slirp4netns",
    "strace",
    "sudo",
    "util-linux",
    "wget",
];

/// The only folders in which the lab looks for programs, so that what a developer has in a home
/// directory (version managers, wrappers) doesn't change what is tested.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The PATH that commands of the lab are given: the system's, then the toolchain's own.
#[must_use]
pub fn path() -> String {
    let home = std::env::var("CARGO_HOME").map(PathBuf::from).ok();
    let cargo = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let cargo = cargo.map(|home| format!(":{}", home.join("bin").display())).unwrap_or_default();
    format!("{SYSTEM_PATH}{cargo}")
}

/// Finds a program.
///
/// # Panics
/// When it is not installed: a test that cannot run fails.
#[must_use]
pub fn require(program: &str) -> PathBuf {
    let found =
        path().split(':').map(|folder| Path::new(folder).join(program)).find(|p| p.exists());
    found.unwrap_or_else(|| missing(program))
}

/// The httpjail under test: `HTTPJAIL_BIN`, else the one built beside this test.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn httpjail() -> PathBuf {
    let path = std::env::var_os("HTTPJAIL_BIN").map_or_else(|| beside("httpjail"), PathBuf::from);
    assert!(
        path.is_file(),
        "no httpjail at {}: build it (`cargo build -p httpjail`), or name one in HTTPJAIL_BIN",
        path.display()
    );
    path
}

/// The probe binary, built with this test.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn probe() -> PathBuf {
    let path = beside("probe");
    assert!(path.is_file(), "no probe at {}: `cargo build -p httpjail-tests`", path.display());
    path
}

/// A binary of the same build: two folders up from `target/<profile>/deps/<test>`.
fn beside(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a process can name its executable");
    test.ancestors().nth(2).expect("a test is built into target/<profile>/deps").join(name)
}

#[expect(clippy::panic, reason = "a test that cannot run has to fail")]
fn missing(program: &str) -> PathBuf {
    panic!("`{program}` is not installed: run `cargo xtask setup --for test`")
}
