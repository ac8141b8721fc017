//! Sockets as files in a folder, by whatever path, and in whichever network namespace, they were bound.

use std::{
    fs::{self, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
            net::UnixDatagram,
        },
    },
    path::{Path, PathBuf},
};

/// As many entries are looked at: seconds, where the kernel doesn't remember them.
pub(super) const MOST: usize = 1_000_000;

/// What there is in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Socket(PathBuf),
    /// Nobody knows: there is too much to look at.
    TooMuch,
}

/// The first socket with a program behind it that is below a folder, on its own file system, and not at
/// or below one of `open`. All are canonical paths. No more than `most` entries are looked at.
///
/// # Errors
///
/// When a folder can't be read.
pub(super) fn below(folder: &Path, open: &[PathBuf], most: usize) -> io::Result<Found> {
    let top = folder.symlink_metadata()?;
    if !top.is_dir() {
        return Ok(Found::Nothing);
    }
    let is_open = |path: &Path| open.iter().any(|open| path.starts_with(open));
    let mut folders = vec![folder.to_owned()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        if is_open(&folder) || !is_on(&folder, top.dev())? {
            continue;
        }
        let Some(entries) = unless_gone(fs::read_dir(&folder))? else { continue };
        for entry in entries {
            let entry = entry?;
            seen += 1;
            if seen > most {
                return Ok(Found::TooMuch);
            }
            let Some(kind) = unless_gone(entry.file_type())? else { continue };
            let path = entry.path();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_socket() && !is_open(&path) && answers(&path) {
                return Ok(Found::Socket(path));
            }
        }
    }
    Ok(Found::Nothing)
}

/// Whether a folder is on that file system. One that even root may not look at is a user's own (FUSE).
fn is_on(folder: &Path, device: u64) -> io::Result<bool> {
    match unless_gone(folder.symlink_metadata()) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        found => Ok(found?.is_some_and(|found| found.dev() == device)),
    }
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// Whether a program has the socket that was bound there. A connection for datagrams to one for streams
/// fails with another error than one to nobody's, and disturbs nobody.
fn answers(path: &Path) -> bool {
    // Paths of sockets are short; that of an open file is.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(path);
    let connected = opened.and_then(|file| {
        UnixDatagram::unbound()?.connect(format!("/proc/self/fd/{}", file.as_raw_fd()))
    });
    !connected.is_err_and(|error| {
        matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn finds_sockets_that_were_renamed_and_only_those_that_somebody_has() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().canonicalize().unwrap();
        let (before, after) = (here.join("before"), here.join("a".repeat(120)));
        fs::create_dir(&before).unwrap();
        let stream = UnixListener::bind(before.join("s")).unwrap();
        fs::rename(&before, &after).unwrap();
        let socket = after.join("s");
        assert_eq!(below(&here, &[], MOST).unwrap(), Found::Socket(socket.clone()));
        assert_eq!(below(&here, std::slice::from_ref(&after), MOST).unwrap(), Found::Nothing);
        assert_eq!(below(&here, &[socket], MOST).unwrap(), Found::Nothing);
        stream.set_nonblocking(true).unwrap();
        assert_eq!(stream.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "undisturbed");
        drop(stream);
        assert_eq!(below(&here, &[], MOST).unwrap(), Found::Nothing, "nobody's");
        let _datagrams = UnixDatagram::bind(here.join("d")).unwrap();
        assert_eq!(below(&here, &[], MOST).unwrap(), Found::Socket(here.join("d")));
    }

    #[test]
    fn says_when_there_is_too_much() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(below(folder.path(), &[], 3).unwrap(), Found::Nothing);
        assert_eq!(below(folder.path(), &[], 2).unwrap(), Found::TooMuch);
        assert_eq!(below(&folder.path().join("a"), &[], 0).unwrap(), Found::Nothing);
    }
}
