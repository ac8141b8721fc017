//! `cargo xtask macos`: compiles httpjail for macOS and links it, on a machine that isn't a Mac.
//!
//! zig, which brings what a linker needs to know of macOS, stands in for Apple's tools
//! (cargo-zigbuild). rustup's toolchain would need the library built for macOS; Debian's has its
//! source, and builds it along. Nothing is run: macos/TESTING.md says what to do on a Mac.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    setup::{self, Purpose},
    tools,
};

/// Debian's linter.
const CLIPPY: &str = "/usr/bin/clippy-driver";
/// The profile: nothing is optimised, and no debug information is made (Cargo.toml).
const PROFILE: &str = "cross";
/// What is compiled for, with the processor that the Mach-O header names (mach/machine.h).
const TARGETS: [(&str, u32); 2] =
    [("aarch64-apple-darwin", 0x0100_000c), ("x86_64-apple-darwin", 0x0100_0007)];
/// How a 64-bit Mach-O file begins (mach-o/loader.h, `MH_MAGIC_64`).
const MACH_O: u32 = 0xfeed_facf;

/// Lints for macOS, and links the program for both kinds of Mac: clippy's driver is a compiler that
/// lints, so one build does both.
pub(crate) fn check() -> Result<()> {
    setup::ensure(Purpose::Macos)?;
    tools::run(&mut zigbuild()?)?;
    for (target, processor) in TARGETS {
        let program = target_dir().join(target).join(PROFILE).join("httpjail");
        verify(&program, processor)?;
        println!("{}", program.display());
    }
    Ok(())
}

/// cargo-zigbuild with Debian's toolchain, which builds the library along.
fn zigbuild() -> Result<Command> {
    let mut command = Command::new("cargo-zigbuild");
    command
        .current_dir(tools::workspace())
        .args(["zigbuild", "--quiet", "--locked", "--profile", PROFILE])
        .args(["--package", "httpjail", "--bin", "httpjail"])
        .args(TARGETS.iter().flat_map(|(target, _)| ["--target", target]))
        .args(["-Z", "build-std=std,panic_abort"])
        .env("PATH", path()?)
        .env("CARGO", tools::DEBIAN_CARGO)
        .env("RUSTC", tools::DEBIAN_RUSTC)
        .env("RUSTC_BOOTSTRAP", "1")
        // What `cargo clippy -- -D warnings` sets; cargo would call rustup's.
        .env("RUSTC_WORKSPACE_WRAPPER", CLIPPY)
        .env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__")
        .env("CARGO_TARGET_DIR", target_dir())
        .env("CARGO_ZIGBUILD_ZIG_PATH", setup::zig())
        // Set by the cargo that runs us; they would choose its compiler and flags.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    Ok(command)
}

/// Of its own, so that the builds for the two systems don't wait for each other.
fn target_dir() -> PathBuf {
    tools::workspace().join("target").join("macos")
}

/// PATH with Debian's programs first.
fn path() -> Result<OsString> {
    let mut folders = vec![PathBuf::from("/usr/bin")];
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    if let Some(program) = tools::find("cargo-zigbuild") {
        folders.extend(program.parent().map(Path::to_path_buf));
    }
    Ok(env::join_paths(folders)?)
}

/// Whether the file is a program for such a Mac.
fn verify(program: &Path, processor: u32) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    ensure!(
        header(&bytes) == Some((MACH_O, processor)),
        "{} is no Mach-O program for the processor {processor:#x}",
        program.display()
    );
    Ok(())
}

/// The first two words of a Mach-O file: what it is, and which processor it is for.
fn header(bytes: &[u8]) -> Option<(u32, u32)> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (processor, _) = rest.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*magic), u32::from_le_bytes(*processor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_program_for_a_mac() {
        let arm = [0xcf, 0xfa, 0xed, 0xfe, 0x0c, 0, 0, 1, 0];
        assert_eq!(header(&arm), Some((MACH_O, TARGETS[0].1)));
        for end in 0..8 {
            assert_eq!(header(&arm[..end]), None);
        }
        assert_ne!(header(b"\x7fELF\x02\x01\x01\0").unwrap().0, MACH_O);
    }
}
