//! What inotify tells of the way to a file.

use std::{
    collections::HashMap,
    fs, io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::session::rule_file::Step;

/// What can put other bytes where the path leads. A file that was just made is empty, and is told of
/// when it is written.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::ONLYDIR);

/// Notices about the entries of folders.
#[derive(Debug)]
pub(super) struct Notices {
    inotify: OwnedFd,
    /// The entries to look for, by the number of their folder's watch.
    entries: HashMap<i32, Vec<Step>>,
}

impl Notices {
    /// None yet.
    ///
    /// # Errors
    ///
    /// What `inotify_init1(2)` says.
    pub(super) fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, entries: HashMap::new() })
    }

    /// Reads what the kernel has told. Whether some of it is about the way to the file.
    pub(super) fn drain(&mut self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(self.inotify.as_fd(), &mut buffer);
        let mut is_told = false;
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                is_told = true;
            }
            let Some(name) = event.file_name() else { continue };
            let steps = self.entries.get(&event.wd()).map_or(&[][..], Vec::as_slice);
            let Some(step) =
                steps.iter().find(|step| step.name.as_encoded_bytes() == name.to_bytes())
            else {
                continue;
            };
            is_told |= !event.events().contains(ReadFlags::CREATE) || is_whole(&step.path());
        }
        is_told
    }

    /// Watches the folders of these steps, and no longer those of others.
    ///
    /// # Errors
    ///
    /// When one can't be watched.
    pub(super) fn follow(&mut self, steps: &[Step]) -> io::Result<()> {
        let mut entries: HashMap<i32, Vec<Step>> = HashMap::new();
        for step in steps {
            let watch = inotify::add_watch(&self.inotify, &step.folder, CHANGES)?;
            entries.entry(watch).or_default().push(step.clone());
        }
        for gone in self.entries.keys().filter(|watch| !entries.contains_key(watch)) {
            // The kernel has removed it already if the folder is gone.
            let _ = inotify::remove_watch(&self.inotify, *gone);
        }
        self.entries = entries;
        Ok(())
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// Whether a new entry leads to something that was there before: a link, or a folder.
fn is_whole(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| !about.is_file() || about.nlink() > 1)
}
