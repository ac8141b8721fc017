//! `cargo xtask ebpf`: builds the kernel side from source, and proves that the committed object
//! is what its source says.
//!
//! The object is committed so that building httpjail needs stable Rust only (ADR 0004). Building
//! it needs a compiler with unstable features and the library's source for it: Debian's
//! `rustc-web` and `rust-web-src`, of one version, are such a pair.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    setup::{self, Purpose},
    tools,
};

/// What strips the object; of the LLVM that bpf-linker is built against.
const OBJCOPY: &str = "/usr/lib/llvm-22/bin/llvm-objcopy";
const TARGET: &str = "bpfel-unknown-none";
/// Where the crate and its object are, below the workspace.
const CRATE: &str = "httpjail-ebpf";
const OBJECT: &str = "httpjail-ebpf/httpjail.bpf.o";

/// Builds the object and puts it in its place.
pub(crate) fn build() -> Result<()> {
    let built = compile()?;
    let committed = tools::workspace().join(OBJECT);
    fs::copy(&built, &committed).with_context(|| format!("write {}", committed.display()))?;
    println!("built {OBJECT}, {} bytes", fs::metadata(&committed)?.len());
    Ok(())
}

/// Rebuilds the object and compares it with the committed one, to the byte.
pub(crate) fn verify() -> Result<()> {
    let built = fs::read(compile()?)?;
    let committed = fs::read(tools::workspace().join(OBJECT))?;
    if built != committed {
        let at = built.iter().zip(&committed).take_while(|(a, b)| a == b).count();
        bail!(
            "{OBJECT} isn't what its source says: {} bytes built, {} committed, first difference \
             at byte {at}\n\nhint: cargo xtask ebpf build, and commit the object",
            built.len(),
            committed.len(),
        );
    }
    println!("{OBJECT} is what its source says ({} bytes)", committed.len());
    Ok(())
}

/// Compiles, links and strips into cargo's own target folder; the path of the result.
fn compile() -> Result<PathBuf> {
    setup::ensure(Purpose::Ebpf)?;
    tools::run(cargo("build")?.env("CARGO_ENCODED_RUSTFLAGS", flags()?.join("\u{1f}")))?;
    let built = target_dir().join(TARGET).join("release").join("httpjail");
    let stripped = built.with_extension("bpf.o");
    // The user side needs the maps' types (.BTF), not the source lines (.BTF.ext, DWARF).
    let mut objcopy = Command::new(OBJCOPY);
    objcopy.args(["--strip-debug", "--remove-section=.BTF.ext", "--remove-section=.rel.BTF.ext"]);
    tools::run(objcopy.arg(&built).arg(&stripped))?;
    Ok(stripped)
}

/// Debian's cargo on the kernel side's crate, with the library built along.
fn cargo(verb: &str) -> Result<Command> {
    let mut command = Command::new(tools::DEBIAN_CARGO);
    command
        .current_dir(tools::workspace().join(CRATE))
        .env("RUSTC", tools::DEBIAN_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", target_dir())
        .env("PATH", path()?)
        // Set by the cargo that runs us; they would choose its compiler and flags.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTFLAGS")
        .args([verb, "--quiet", "--locked", "--release", "--target", TARGET])
        .args(["-Z", "build-std=core"]);
    Ok(command)
}

/// Of its own, so that the two sides' builds don't wait for each other.
fn target_dir() -> PathBuf {
    tools::workspace().join("target").join("ebpf")
}

/// The compiler's flags. The same source gives the same bytes wherever it lies: paths are
/// replaced by what they stand for.
fn flags() -> Result<Vec<String>> {
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    Ok(vec![
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        remap(&cargo_home()?, "/cargo"),
        remap(&tools::workspace(), "/httpjail"),
    ])
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    Ok(PathBuf::from(env::var_os("HOME").context("neither CARGO_HOME nor HOME is set")?)
        .join(".cargo"))
}

/// PATH with the folder in which `cargo install` puts bpf-linker.
fn path() -> Result<OsString> {
    let mut folders = vec![cargo_home()?.join("bin")];
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    Ok(env::join_paths(folders)?)
}
