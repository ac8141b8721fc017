//! What happens to files, as kqueue tells it.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    ptr,
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::kqueue::{Event, EventFilter, EventFlags, VnodeEvents, kevent, kqueue},
    fs::{Mode, OFlags},
};

/// What can put other bytes where a path leads.
const CHANGES: VnodeEvents = VnodeEvents::WRITE
    .union(VnodeEvents::EXTEND)
    .union(VnodeEvents::DELETE)
    .union(VnodeEvents::RENAME);

/// A queue of what happened.
#[derive(Debug)]
pub(crate) struct Queue(OwnedFd);

impl Queue {
    /// An empty one, which watches nothing.
    ///
    /// # Errors
    ///
    /// What `kqueue(2)` says.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(kqueue()?))
    }

    /// Takes some of what has happened by `limit`. Whether something has.
    ///
    /// # Errors
    ///
    /// What `kevent(2)` says.
    pub(crate) fn take(&self, limit: Option<Duration>) -> io::Result<bool> {
        let mut events: Vec<Event> = Vec::with_capacity(16);
        // SAFETY: nothing is changed, so no descriptor has to live on.
        match unsafe { kevent(&self.0, &[], spare_capacity(&mut events), limit) } {
            Ok(_) => Ok(!events.is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Watches a file or a folder until what is returned is closed.
    ///
    /// # Errors
    ///
    /// When it isn't there, or can't be watched.
    pub(crate) fn watch(&self, path: &Path) -> io::Result<OwnedFd> {
        // For events alone: it doesn't keep a file system from being unmounted.
        let flags = OFlags::from_bits_retain(libc::O_EVTONLY.cast_unsigned()) | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty())?;
        let filter = EventFilter::Vnode { vnode: opened.as_raw_fd(), flags: CHANGES };
        let change = Event::new(filter, EventFlags::ADD | EventFlags::CLEAR, ptr::null_mut());
        let mut none: Vec<Event> = Vec::new();
        // SAFETY: the descriptor lives; when it is closed, the kernel forgets the event.
        unsafe { kevent(&self.0, &[change], &mut none, None)? };
        Ok(opened)
    }
}
