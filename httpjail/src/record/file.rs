//! A log as a file: opened once, before anything runs.

use std::{
    fs::File,
    io,
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
};

/// A log that was opened for appending. It stays valid over a fork.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    created: bool,
}

/// Why a file can't be a log; completes "failed to ...".
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The path is a symbolic link, which someone else may have put there.
    #[error("write to `{}`: it's a symbolic link", path.display())]
    Link {
        /// As given.
        path: PathBuf,
    },
    /// The file has other names, so appending to it would change them too.
    #[error("write to `{}`: it has hard links", path.display())]
    HardLinks {
        /// As given.
        path: PathBuf,
    },
    /// A pipe that nobody reads yet.
    #[error("write to `{}`: it's a pipe that nobody reads", path.display())]
    NoReader {
        /// As given.
        path: PathBuf,
    },
    /// A folder, a socket or a disk.
    #[error("write to `{}`: it's neither a file, a pipe nor a terminal", path.display())]
    Kind {
        /// As given.
        path: PathBuf,
    },
    /// The system refused.
    #[error("write to `{}`", path.display())]
    Open {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl LogFile {
    /// Opens `path` for appending; a file that isn't there is made, for its owner alone (URLs
    /// hold secrets). `/dev/stdout` and `/dev/stderr` are httpjail's own; a pipe or a terminal
    /// will do too. Links are refused: httpjail often runs as root, and the folder may belong to
    /// whoever is jailed.
    ///
    /// # Errors
    ///
    /// [`LogError`] says what is at `path` instead.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let failed = |source: Errno| match source {
            Errno::LOOP => LogError::Link { path: path.to_owned() },
            Errno::NXIO => LogError::NoReader { path: path.to_owned() },
            Errno::ISDIR => LogError::Kind { path: path.to_owned() },
            other => LogError::Open { path: path.to_owned(), source: other.into() },
        };
        let (fd, created) = match standard_stream(path) {
            Some(stream) => (stream.map_err(failed)?, false),
            None => open_or_create(path).map_err(failed)?,
        };
        let stat = rustix::fs::fstat(&fd).map_err(failed)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if stat.st_nlink > 1 => {
                Err(LogError::HardLinks { path: path.to_owned() })
            }
            FileType::RegularFile | FileType::Fifo | FileType::CharacterDevice => {
                Ok(Self { file: File::from(fd), created })
            }
            _ => Err(LogError::Kind { path: path.to_owned() }),
        }
    }

    /// Gives the file to the user on whose behalf httpjail runs, if opening made it.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn give_to(&self, user: u32, group: u32) -> io::Result<()> {
        if self.created {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            rustix::fs::fchown(&self.file, Some(user), Some(group))?;
        }
        Ok(())
    }

    /// The same file, by a descriptor of its own.
    ///
    /// # Errors
    ///
    /// When the descriptor can't be copied.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, created: self.created })
    }

    /// The open file, for whoever must keep it open over a fork.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.file)
    }

    /// The open file itself.
    pub(crate) fn into_file(self) -> File {
        self.file
    }
}

/// The streams that httpjail was started with: their names in `/dev` are links.
fn standard_stream(path: &Path) -> Option<Result<OwnedFd, Errno>> {
    match path.to_str()? {
        "/dev/stdout" => Some(rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)),
        "/dev/stderr" => Some(rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3)),
        _ => None,
    }
}

/// The file, and whether this made it. Opening never waits for the other end of a pipe.
fn open_or_create(path: &Path) -> Result<(OwnedFd, bool), Errno> {
    let append = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC
        | OFlags::NOCTTY
        | OFlags::NONBLOCK;
    let private = Mode::RUSR | Mode::WUSR;
    let (fd, created) = match rustix::fs::open(path, append, Mode::empty()) {
        Ok(fd) => (fd, false),
        Err(Errno::NOENT) => {
            (rustix::fs::open(path, append | OFlags::CREATE | OFlags::EXCL, private)?, true)
        }
        Err(other) => return Err(other),
    };
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags - OFlags::NONBLOCK)?;
    Ok((fd, created))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::{fs::PermissionsExt, net::UnixListener},
    };

    use super::*;

    #[test]
    fn makes_a_private_file_and_appends_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert!(LogFile::open(&path).unwrap().created);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "before\n").unwrap();
        let log = LogFile::open(&path).unwrap();
        assert!(!log.created);
        io::Write::write_all(&mut log.into_file(), b"after\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\nafter\n");
    }

    #[test]
    fn refuses_links() {
        let dir = tempfile::tempdir().unwrap();
        let (path, soft, hard) =
            (dir.path().join("log"), dir.path().join("soft"), dir.path().join("hard"));
        fs::write(&path, "").unwrap();
        std::os::unix::fs::symlink(&path, &soft).unwrap();
        assert!(matches!(LogFile::open(&soft), Err(LogError::Link { .. })));
        fs::hard_link(&path, &hard).unwrap();
        assert!(matches!(LogFile::open(&hard), Err(LogError::HardLinks { .. })));
        std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).unwrap();
        assert!(matches!(LogFile::open(&dir.path().join("dangling")), Err(LogError::Link { .. })));
    }

    #[test]
    fn refuses_what_is_no_log() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(LogFile::open(dir.path()), Err(LogError::Kind { .. })));
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert!(LogFile::open(&socket).is_err());
        let lost = dir.path().join("no/log");
        assert!(matches!(LogFile::open(&lost), Err(LogError::Open { .. })));
    }

    #[test]
    fn takes_a_pipe_once_somebody_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(matches!(LogFile::open(&path), Err(LogError::NoReader { .. })));
        let _reader =
            rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
        assert!(LogFile::open(&path).is_ok());
    }

    #[test]
    fn takes_the_streams_of_httpjail_and_devices() {
        for path in ["/dev/stdout", "/dev/stderr", "/dev/null"] {
            assert!(LogFile::open(Path::new(path)).is_ok(), "{path}");
        }
    }
}
