//! Wakes the thread that accepts from its wait for descriptors.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Becomes readable when it is rung, until it is cleared.
#[derive(Debug)]
pub(super) struct Bell {
    listens: OwnedFd,
    /// The end that is written to, where it isn't the same.
    #[cfg(not(target_os = "linux"))]
    rings: OwnedFd,
}

impl Bell {
    #[cfg(target_os = "linux")]
    pub(super) fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let listens = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { listens })
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn new() -> io::Result<Self> {
        let (listens, rings) = io::pipe()?;
        let (listens, rings) = (OwnedFd::from(listens), OwnedFd::from(rings));
        for end in [&listens, &rings] {
            rustix::io::ioctl_fionbio(end, true)?;
        }
        Ok(Self { listens, rings })
    }

    pub(super) fn ring(&self) {
        // A full counter or pipe is as readable as one more would make it.
        let _ = rustix::io::write(self.to_ring(), &1_u64.to_ne_bytes());
    }

    pub(super) fn clear(&self) {
        let mut count = [0; 512];
        // Nothing to read means that nothing has to be cleared.
        let _ = rustix::io::read(&self.listens, &mut count);
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.listens.as_fd()
    }

    #[cfg(target_os = "linux")]
    fn to_ring(&self) -> &OwnedFd {
        &self.listens
    }

    #[cfg(not(target_os = "linux"))]
    fn to_ring(&self) -> &OwnedFd {
        &self.rings
    }
}
