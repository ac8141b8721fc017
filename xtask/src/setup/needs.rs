//! What each purpose needs: how its presence is shown, and what brings it.

use std::path::Path;
use std::process::Command;

use clap::ValueEnum;

use crate::tools;

/// What a machine is set up for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Purpose {
    /// Building and running httpjail.
    Run,
    /// Building everything and running all tests.
    Test,
    /// Building the programs in the kernel from source.
    Ebpf,
    /// Measuring against rivals.
    Bench,
    /// Measuring for an hour.
    Soak,
    /// Building the guide.
    Docs,
    /// Compiling for macOS.
    Macos,
    /// Fuzzing what reads hostile bytes.
    Fuzz,
    /// All checks that a change must pass.
    Ci,
}

/// One thing that must be on the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// How to tell that it is there.
    pub(crate) proof: Proof,
    /// What brings it when it isn't.
    pub(crate) remedy: Remedy,
}

/// What shows that a need is met, whoever met it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Proof {
    /// An executable of this name.
    Program(&'static str),
    /// A C library that pkg-config knows.
    Library(&'static str),
    /// A file at this path.
    File(&'static str),
    /// The zig that was installed below the target folder.
    Zig,
    /// The mitmproxy that was installed below the target folder.
    Mitmproxy,
    /// A module of the system's Python, which is the one that tests use.
    PythonModule(&'static str),
}

/// What brings a missing need.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Remedy {
    /// A package of Debian.
    Debian(&'static str),
    /// A program from crates.io.
    Crate(&'static Crate),
    /// A component of the Rust toolchain, by rustup.
    Component(&'static str),
    /// A package of the Python index, of this version, into a folder below the target folder.
    Python(&'static str, &'static str),
    /// A program of the Python index, of this version, with all that it needs in an environment of
    /// its own below the target folder.
    PythonProgram(&'static str, &'static str),
}

/// A program that `cargo install` builds.
#[derive(Debug)]
pub(crate) struct Crate {
    /// Its name on crates.io.
    pub(crate) name: &'static str,
    /// The version known to work.
    pub(crate) version: &'static str,
    /// Further arguments of `cargo install`.
    pub(crate) args: &'static [&'static str],
    /// What its build wants in the environment.
    pub(crate) env: &'static [(&'static str, &'static str)],
}

impl Purpose {
    /// Everything that this purpose needs.
    pub(crate) fn needs(self) -> Vec<Need> {
        let tables: &[&[Need]] = match self {
            Self::Run => &[BUILD],
            Self::Test => &[BUILD, TEST],
            Self::Ebpf => &[TOOLCHAIN, EBPF],
            Self::Bench => &[BUILD, BENCH],
            Self::Soak => &[BUILD, BENCH, SOAK],
            Self::Docs => &[DOCS],
            Self::Macos => &[TOOLCHAIN, MACOS],
            Self::Fuzz => &[BUILD, FUZZ],
            Self::Ci => &[BUILD, TEST, TOOLCHAIN, EBPF, FUZZ, MACOS, CI],
        };
        tables.concat()
    }
}

impl Need {
    /// Whether the machine has it.
    pub(crate) fn is_met(&self) -> bool {
        match self.proof {
            Proof::Program(name) => tools::find(name).is_some(),
            Proof::File(path) => Path::new(path).exists(),
            Proof::Zig => super::install::zig().exists(),
            Proof::Mitmproxy => super::install::mitmdump().exists(),
            Proof::Library(name) => {
                tools::succeeds(Command::new("pkg-config").args(["--exists", name]))
            }
            Proof::PythonModule(name) => tools::succeeds(
                Command::new("/usr/bin/python3").args(["-c", &format!("import {name}")]),
            ),
        }
    }

    /// The name of what brings it, for messages.
    pub(crate) fn name(&self) -> &'static str {
        match self.remedy {
            Remedy::Debian(name)
            | Remedy::Component(name)
            | Remedy::Python(name, _)
            | Remedy::PythonProgram(name, _) => name,
            Remedy::Crate(program) => program.name,
        }
    }
}

const fn debian(proof: Proof, package: &'static str) -> Need {
    Need { proof, remedy: Remedy::Debian(package) }
}

const fn program(name: &'static str, package: &'static str) -> Need {
    debian(Proof::Program(name), package)
}

/// What `cargo build` needs beyond Rust: a C compiler (QuickJS, AWS-LC) and netfilter's libraries.
const BUILD: &[Need] = &[
    program("cc", "gcc"),
    debian(Proof::File("/usr/include/stdlib.h"), "libc6-dev"),
    program("pkg-config", "pkg-config"),
    debian(Proof::Library("libnftnl"), "libnftnl-dev"),
    debian(Proof::Library("libmnl"), "libmnl-dev"),
];

/// The test runner, what the lab is built with, and the clients that are jailed in it.
const TEST: &[Need] = &[
    Need {
        proof: Proof::Program("cargo-nextest"),
        remedy: Remedy::Crate(&Crate {
            name: "cargo-nextest",
            version: "0.9.143",
            args: &[],
            env: &[],
        }),
    },
    program("ip", "iproute2"),
    program("nft", "nftables"),
    program("sudo", "sudo"),
    program("curl", "curl"),
    program("wget", "wget"),
    program("git", "git"),
    program("openssl", "openssl"),
    program("dig", "bind9-dnsutils"),
    program("ping", "iputils-ping"),
    program("jq", "jq"),
    program("nc", "netcat-openbsd"),
    program("ssh", "openssh-client"),
    program("dropbear", "dropbear-bin"),
    program("psql", "postgresql-client"),
    program("node", "nodejs"),
    program("npm", "npm"),
    program("make", "make"),
    program("go", "golang-go"),
    program("gdb", "gdb-minimal"),
    program("strace", "strace"),
    program("bpftool", "bpftool"),
    program("slirp4netns", "slirp4netns"),
    program("pasta", "passt"),
    program("podman", "podman"),
    program("dockerd", "docker.io"),
    program("docker", "docker.io"),
    program("runc", "runc"),
    program("busybox", "busybox-static"),
    program("chromium", "chromium"),
    program("certutil", "libnss3-tools"),
    program("keytool", "default-jre-headless"),
    program("ecj", "ecj"),
    program("h2load", "nghttp2-client"),
    debian(Proof::File("/etc/ssl/certs/ca-certificates.crt"), "ca-certificates"),
    debian(Proof::File("/usr/bin/python3"), "python3"),
    debian(Proof::PythonModule("requests"), "python3-requests"),
    debian(Proof::PythonModule("pip"), "python3-pip"),
    debian(Proof::PythonModule("grpc"), "python3-grpcio"),
    debian(Proof::PythonModule("websockets"), "python3-websockets"),
    debian(Proof::PythonModule("httpx"), "python3-httpx"),
    debian(Proof::PythonModule("h2"), "python3-h2"),
    debian(Proof::File("/usr/share/nodejs/ws"), "node-ws"),
];

/// A compiler with its library's source, so that it can be built for BPF and for macOS.
///
/// The committed object is compared byte by byte, so the compiler is one particular one: the
/// newest that Debian 12 ships, rather than whatever nightly is current.
const TOOLCHAIN: &[Need] = &[
    debian(Proof::File("/usr/bin/rustc"), "rustc-web"),
    debian(Proof::File("/usr/bin/cargo"), "cargo-web"),
    debian(Proof::File("/usr/lib/rustlib/src/rust/library/core/src/lib.rs"), "rust-web-src"),
];

/// The linker of the programs in the kernel.
const EBPF: &[Need] = &[
    debian(Proof::File("/usr/lib/llvm-22/bin/llvm-config"), "llvm-22-dev"),
    Need {
        proof: Proof::Program("bpf-linker"),
        remedy: Remedy::Crate(&Crate {
            name: "bpf-linker",
            version: "0.13.0",
            args: &["--no-default-features", "--features", "llvm-22"],
            env: &[("LLVM_PREFIX", "/usr/lib/llvm-22")],
        }),
    },
];

/// The origin, the rivals, the load, and the lab around them.
const BENCH: &[Need] = &[
    program("ip", "iproute2"),
    program("nft", "nftables"),
    program("curl", "curl"),
    program("openssl", "openssl"),
    program("nginx", "nginx-light"),
    program("wrk", "wrk"),
    program("perf", "linux-perf"),
    program("h2load", "nghttp2-client"),
    debian(Proof::File("/usr/lib/squid/security_file_certgen"), "squid-openssl"),
    debian(Proof::File("/usr/bin/python3"), "python3"),
    debian(Proof::PythonModule("ensurepip"), "python3-venv"),
    Need { proof: Proof::Mitmproxy, remedy: Remedy::PythonProgram("mitmproxy", "11.0.2") },
];

/// A linker that knows macOS, what calls it, and what lints.
const MACOS: &[Need] = &[
    debian(Proof::File("/usr/bin/clippy-driver"), "rust-web-clippy"),
    debian(Proof::File("/usr/bin/python3"), "python3"),
    debian(Proof::PythonModule("pip"), "python3-pip"),
    Need { proof: Proof::Zig, remedy: Remedy::Python("ziglang", "0.17.1") },
    Need {
        proof: Proof::Program("cargo-zigbuild"),
        remedy: Remedy::Crate(&Crate {
            name: "cargo-zigbuild",
            version: "0.24.1",
            args: &[],
            env: &[],
        }),
    },
];

/// What looks into the kernel's maps.
const SOAK: &[Need] = &[program("bpftool", "bpftool")];

/// What makes a book of the guide. No part of CI, which checks the chapters by tests.
const DOCS: &[Need] = &[Need {
    proof: Proof::Program("mdbook"),
    remedy: Remedy::Crate(&Crate { name: "mdbook", version: "0.5.4", args: &[], env: &[] }),
}];

/// A compiler for the fuzzer itself.
const FUZZ: &[Need] = &[program("c++", "g++")];

/// Linters, for both sides, and the checks of the dependencies.
const CI: &[Need] = &[
    Need { proof: Proof::Program("cargo-fmt"), remedy: Remedy::Component("rustfmt") },
    Need { proof: Proof::Program("cargo-clippy"), remedy: Remedy::Component("clippy") },
    debian(Proof::File("/usr/bin/clippy-driver"), "rust-web-clippy"),
    Need {
        proof: Proof::Program("cargo-deny"),
        remedy: Remedy::Crate(&Crate {
            name: "cargo-deny",
            version: "0.20.2",
            args: &[],
            env: &[],
        }),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ci_needs_what_all_its_steps_need() {
        let names: Vec<_> = Purpose::Ci.needs().iter().map(Need::name).collect();
        for need in [Purpose::Run, Purpose::Test, Purpose::Ebpf, Purpose::Macos, Purpose::Fuzz]
            .map(Purpose::needs)
            .concat()
        {
            assert!(names.contains(&need.name()), "{} is missing", need.name());
        }
    }

    #[test]
    fn tells_what_is_there_from_what_is_not() {
        assert!(program("sh", "dash").is_met());
        assert!(!program("surely-no-such-program", "none").is_met());
        assert!(!debian(Proof::Library("surely-no-such-library"), "none").is_met());
    }
}
