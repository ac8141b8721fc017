//! What kqueue tells of the way to a file: of folders in which an entry was made, removed or renamed, and
//! of the file when it is written. It doesn't tell when whoever writes has done so, so a pause is waited
//! for.

use std::{
    io, mem,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use crate::{backend::macos::watching::Queue, session::rule_file::Step};

/// How long nothing must be told before what was told counts as done.
const PAUSE: Duration = Duration::from_millis(50);
/// How long that may take: who writes all the time is looked at meanwhile.
const LONGEST: Duration = Duration::from_secs(1);

/// Notices about folders, and about what the last entry leads to.
#[derive(Debug)]
pub(super) struct Notices {
    queue: Queue,
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
        Ok(Self { queue: Queue::new()?, watched: Vec::new(), is_told: false })
    }

    /// Waits until the kernel tells something.
    ///
    /// # Errors
    ///
    /// What `kevent(2)` says.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        while !self.is_told {
            self.is_told = self.queue.take(None)?;
        }
        Ok(())
    }

    /// Takes what the kernel has told, until it tells nothing for a moment. Whether it told something.
    pub(super) fn drain(&mut self) -> bool {
        let deadline = Instant::now() + LONGEST;
        let mut is_told = mem::take(&mut self.is_told);
        while Instant::now() < deadline {
            let limit = if is_told { PAUSE } else { Duration::ZERO };
            match self.queue.take(Some(limit)) {
                Ok(true) => is_told = true,
                Ok(false) | Err(_) => break,
            }
        }
        is_told
    }

    /// Watches the folders of these steps and what the last one leads to, and no longer others.
    ///
    /// # Errors
    ///
    /// When a folder can't be watched. A file that isn't there is told of by its folder.
    pub(super) fn follow(&mut self, steps: &[Step]) -> io::Result<()> {
        let mut watched = Vec::new();
        for step in steps {
            watched.push(self.queue.watch(&step.folder)?);
        }
        if let Some(last) = steps.last() {
            watched.extend(self.queue.watch(&last.path()).ok());
        }
        self.watched = watched;
        Ok(())
    }
}
