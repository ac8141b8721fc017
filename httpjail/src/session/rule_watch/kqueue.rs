//! What kqueue tells of the way to a file: of folders in which an entry was made, removed or renamed, and
//! of the file when it is written. It doesn't tell when whoever writes has done so, so a pause is waited
//! for.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    ptr,
    time::{Duration, Instant},
};

use rustix::{
    event::{
        PollFd, PollFlags, Timespec,
        kqueue::{Event, EventFilter, EventFlags, VnodeEvents, kevent, kqueue},
        poll,
    },
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
}

impl Notices {
    /// None yet.
    ///
    /// # Errors
    ///
    /// What `kqueue(2)` says.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { kqueue: kqueue()?, watched: Vec::new() })
    }

    /// Takes what the kernel has told, until it tells nothing for a moment. Whether it told something.
    pub(super) fn drain(&mut self) -> bool {
        let deadline = Instant::now() + LONGEST;
        let mut is_told = false;
        while self.has_more(if is_told { PAUSE } else { Duration::ZERO }) {
            let mut events: Vec<Event> = Vec::with_capacity(16);
            // SAFETY: nothing is changed, so no descriptor has to live on.
            let taken = unsafe { kevent(&self.kqueue, &[], &mut events, Some(Duration::ZERO)) };
            is_told = true;
            if taken.is_err() || Instant::now() >= deadline {
                break;
            }
        }
        is_told
    }

    fn has_more(&self, limit: Duration) -> bool {
        let timeout = Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos().into() };
        let mut fds = [PollFd::from_borrowed_fd(self.kqueue.as_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
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

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.kqueue.as_fd()
    }
}
