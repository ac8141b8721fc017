//! The process that holds a container's network namespace where the engine makes none of its own
//! choosing ready beforehand, and can only join that of another container (docker).
//!
//! It is a container of the user's image, of which nothing is run: its one program is mounted into
//! it, and does nothing but wait.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Where the holder has its program.
pub(super) const PROGRAM: &str = "/.httpjail-hold";

/// Waits for a signal, again and again: `1: mov $34, %eax; syscall; jmp 1b` (pause(2)).
#[cfg(target_arch = "x86_64")]
const CODE: &[u8] = &[0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];
/// `EM_X86_64`.
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;

/// The same on a machine that has no pause(2): `1: mov x0..x4, #0; mov x8, #73; svc #0; b 1b`
/// (ppoll(2) of nothing).
#[cfg(target_arch = "aarch64")]
const CODE: &[u8] = &[
    0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x80, 0xd2, 0x02, 0x00, 0x80, 0xd2, 0x03, 0x00, 0x80, 0xd2,
    0x04, 0x00, 0x80, 0xd2, 0x28, 0x09, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, 0xf9, 0xff, 0xff, 0x17,
];
/// `EM_AARCH64`.
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// Where the program is in memory.
const BASE: u64 = 0x40_0000;
/// Sizes of the two headers (elf(5)).
const FILE_HEADER: u16 = 64;
const SEGMENT_HEADER: u16 = 56;

/// Writes the program to a file that everybody may run.
///
/// # Errors
///
/// When it can't be written.
pub(super) fn write(path: &Path) -> io::Result<()> {
    fs::write(path, program())?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// A whole ELF file of one segment (elf(5)).
fn program() -> Vec<u8> {
    let headers = u64::from(FILE_HEADER + SEGMENT_HEADER);
    let size = headers + u64::try_from(CODE.len()).unwrap_or(0);
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    let half = |bytes: &mut Vec<u8>, value: u16| bytes.extend(value.to_le_bytes());
    let word = |bytes: &mut Vec<u8>, value: u32| bytes.extend(value.to_le_bytes());
    let long = |bytes: &mut Vec<u8>, value: u64| bytes.extend(value.to_le_bytes());
    // An executable, of version 1; it begins behind the headers, which are one of each.
    half(&mut bytes, 2);
    half(&mut bytes, MACHINE);
    word(&mut bytes, 1);
    long(&mut bytes, BASE + headers);
    long(&mut bytes, FILE_HEADER.into());
    long(&mut bytes, 0);
    word(&mut bytes, 0);
    for value in [FILE_HEADER, SEGMENT_HEADER, 1, 0, 0, 0] {
        half(&mut bytes, value);
    }
    // To be loaded, read and run: the whole file.
    word(&mut bytes, 1);
    word(&mut bytes, 5);
    for value in [0, BASE, BASE, size, size, 0x1000] {
        long(&mut bytes, value);
    }
    bytes.extend(CODE);
    bytes
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::*;

    #[test]
    fn waits_until_it_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hold");
        write(&path).unwrap();
        let mut child = Command::new(&path).spawn().unwrap();
        // It is in pause(2), and nowhere else, when it has been scheduled.
        let syscall = format!("/proc/{}/syscall", child.id());
        let number = if cfg!(target_arch = "x86_64") { "34 " } else { "73 " };
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while !fs::read_to_string(&syscall).unwrap().starts_with(number) {
            assert!(std::time::Instant::now() < deadline && child.try_wait().unwrap().is_none());
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
