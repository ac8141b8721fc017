//! What kqueue tells of the way to a file: of folders in which an entry was made, removed or renamed, and
//! of the file when it is written. It doesn't tell when whoever writes has done so, so a pause is waited
//! for.

use std::{
    io, mem,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    ptr,
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::kqueue::{Event, EventFilter, EventFlags, VnodeEvents, kevent, kqueue},
    fs::{Mode, OFlags},
};

use crate::session::rule_file::Step;

/// How long nothing must be told before what was told counts as done.
const PAUSE: Duration = Duration::from_millis(50);
/// How long that may take: who writes all the time is looked at meanwhile.
const LONGEST: Duration = Duration::from_secs(1);
/// What can put other bytes where the path leads.
const CHANGES: VnodeEvents = VnodeEvents::WRITE
    .union(VnodeEvents::EXTEND)
    .union(VnodeEvents::DELETE)
    .union(VnodeEvents::RENAME);

/// Notices about folders, and about what the last entry leads to.
#[derive(Debug)]
pub(super) struct Notices {
    kqueue: OwnedFd,
    /// What is watched; the kernel forgets what is closed.
    watched: Vec<OwnedFd>,
    /// Whether something was told that nobody has taken up.
    is_told: bool,
}

impl Notices {
    /// None yet.
    ///
    /// # Errors
    ///
    /// What `kqueue(2)` says.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { kqueue: kqueue()?, watched: Vec::new(), is_told: false })
    }

    /// Waits until the kernel tells something.
    ///
    /// # Errors
    ///
    /// What `kevent(2)` says.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        while !self.is_told {
            self.is_told = self.take(None)?;
        }
        Ok(())
    }

    /// Takes what the kernel has told, until it tells nothing for a moment. Whether it told something.
    pub(super) fn drain(&mut self) -> bool {
        let deadline = Instant::now() + LONGEST;
        let mut is_told = mem::take(&mut self.is_told);
        while Instant::now() < deadline {
            let limit = if is_told { PAUSE } else { Duration::ZERO };
            match self.take(Some(limit)) {
                Ok(true) => is_told = true,
                Ok(false) | Err(_) => break,
            }
        }
        is_told
    }

    /// Takes some of what the kernel has told by `limit`. Whether it told something.
    fn take(&self, limit: Option<Duration>) -> io::Result<bool> {
        let mut events: Vec<Event> = Vec::with_capacity(16);
        // SAFETY: nothing is changed, so no descriptor has to live on.
        match unsafe { kevent(&self.kqueue, &[], spare_capacity(&mut events), limit) } {
            Ok(_) => Ok(!events.is_empty()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Watches the folders of these steps and what the last one leads to, and no longer others.
    ///
    /// # Errors
    ///
    /// When a folder can't be watched. A file that isn't there is told of by its folder.
    pub(super) fn follow(&mut self, steps: &[Step]) -> io::Result<()> {
        let mut watched = Vec::new();
        for step in steps {
            watched.push(self.watch(&step.folder)?);
        }
        if let Some(last) = steps.last() {
            watched.extend(self.watch(&last.path()).ok());
        }
        self.watched = watched;
        Ok(())
    }

    fn watch(&self, path: &Path) -> io::Result<OwnedFd> {
        // For events alone: it doesn't keep a file system from being unmounted.
        let flags = OFlags::from_bits_retain(libc::O_EVTONLY.cast_unsigned()) | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty())?;
        let filter = EventFilter::Vnode { vnode: opened.as_raw_fd(), flags: CHANGES };
        let change = Event::new(filter, EventFlags::ADD | EventFlags::CLEAR, ptr::null_mut());
        let mut none: Vec<Event> = Vec::new();
        // SAFETY: the descriptor lives; when it is closed, the kernel forgets the event.
        unsafe { kevent(&self.kqueue, &[change], &mut none, None)? };
        Ok(opened)
    }
}
