//! What runs are told apart by: random names, and folders that are locked for as long as a run lives.

use std::{io, os::fd::OwnedFd, path::Path};

use rustix::fs::{FlockOperation, Mode, OFlags};

/// Locks a folder. `None`: somebody else holds it, or it is gone.
pub(super) fn lock(path: &Path, operation: FlockOperation) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match rustix::fs::flock(&fd, operation) {
        Ok(()) => Ok(Some(fd)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Eight random hexadecimal digits.
pub(super) fn fresh_id() -> io::Result<String> {
    Ok(format!("{:08x}", u32::from_ne_bytes(random()?)))
}

/// Random bytes, from the kernel.
#[cfg(target_os = "linux")]
pub(super) fn random<const LENGTH: usize>() -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes)
}

/// Random bytes, from the kernel.
#[cfg(target_os = "macos")]
pub(super) fn random<const LENGTH: usize>() -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}
