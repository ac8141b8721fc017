//! What a container gets hold of when it sees a file or a folder of the host.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    procfs,
    socket_files::{self, Found},
    spawn::view::{KNOWN_SOCKETS, Mount, SETTINGS, bound_path, is_open, lines},
};

pub(crate) use super::spawn::view::is_socket;

/// File systems by which the kernel, or another namespace, is reached, besides [`SETTINGS`].
const OF_THE_KERNEL: [&[u8]; 4] = [b"devpts", b"devtmpfs", b"nsfs", b"proc"];

/// A way past a container's guards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exposed {
    /// A file system of the kernel's.
    Kernel {
        /// What kind.
        kind: String,
        /// Where it is mounted.
        at: PathBuf,
    },
    /// The Unix socket of a program outside.
    Socket(PathBuf),
    /// What httpjail or an engine keeps to itself.
    Closed(PathBuf),
    /// More than is looked at.
    TooMuch,
}

impl fmt::Display for Exposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel { kind, at } => write!(f, "the kernel's {kind} at {at:?}"),
            Self::Socket(path) => write!(f, "the socket {path:?} of a program outside"),
            Self::TooMuch => write!(
                f,
                "more than {} files, which are too many to look for sockets of programs outside",
                socket_files::MOST
            ),
            Self::Closed(path) => {
                write!(f, "a part of {path:?}, which is httpjail's own or an engine's")
            }
        }
    }
}

/// The first way past that is at `path`, below it, or around it. Sockets below `open`, which are
/// canonical paths, are none.
///
/// # Errors
///
/// When the path leads nowhere, or the kernel doesn't list what is mounted.
pub(crate) fn through(path: &Path, open: &[PathBuf]) -> io::Result<Option<Exposed>> {
    let path = path.canonicalize()?;
    let mounts = procfs::read("/proc/self/mountinfo")?;
    if let Some(kernel) = kernel(&path, &mounts) {
        return Ok(Some(kernel));
    }
    // Not in one read: the table may be long.
    let mut sockets = Vec::new();
    File::open("/proc/net/unix")?.read_to_end(&mut sockets)?;
    let listed = lines(&sockets).filter_map(bound_path);
    let known = KNOWN_SOCKETS.into_iter().map(PathBuf::from);
    let own = is_socket(&path).then(|| path.clone());
    let mut found = own.into_iter().chain(listed.chain(known).filter(|socket| is_socket(socket)));
    let is_seen = |socket: &PathBuf| {
        socket.canonicalize().is_ok_and(|real| real.starts_with(&path)) && !is_open(socket, open)
    };
    if let Some(socket) = found.find(is_seen) {
        return Ok(Some(Exposed::Socket(socket)));
    }
    // What was bound by another path, or in another network namespace, is found as a file.
    Ok(match socket_files::below(&path, open, socket_files::MOST)? {
        Found::Nothing => None,
        Found::Socket(socket) => Some(Exposed::Socket(socket)),
        Found::TooMuch => Some(Exposed::TooMuch),
    })
}

/// What of `closed` is at `path`, below it, or around it. Nothing need be there yet: an engine makes
/// folders for what is to be mounted.
pub(crate) fn closed(path: &Path, closed: &[PathBuf]) -> Option<Exposed> {
    let path = real(path);
    let mut closed = closed.iter().map(|closed| real(closed));
    let found = closed.find(|closed| path.starts_with(closed) || closed.starts_with(&path));
    found.map(Exposed::Closed)
}

/// Where a path leads, as far as it leads anywhere.
pub(crate) fn real(path: &Path) -> PathBuf {
    let mut above = path.ancestors().filter_map(|above| Some((above, above.canonicalize().ok()?)));
    let Some((above, real)) = above.next() else { return path.to_owned() };
    let rest = path.strip_prefix(above).ok().filter(|rest| !rest.as_os_str().is_empty());
    rest.map_or_else(|| real.clone(), |rest| real.join(rest))
}

fn kernel(path: &Path, mounts: &[u8]) -> Option<Exposed> {
    let mounts: Vec<_> = lines(mounts).filter_map(Mount::parse).collect();
    // Of two at one place the later covers the earlier.
    let around = mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count());
    let below = mounts.iter().filter(|mount| mount.point.starts_with(path));
    let is_kernels =
        |mount: &&Mount| SETTINGS.iter().chain(&OF_THE_KERNEL).any(|kind| mount.kind == *kind);
    around.into_iter().chain(below).find(is_kernels).map(|mount| Exposed::Kernel {
        kind: String::from_utf8_lossy(&mount.kind).into_owned(),
        at: mount.point.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    const MOUNTS: &[u8] = b"22 27 0:21 / /proc rw - proc proc rw\n\
        27 1 254:0 / / rw - ext4 /dev/vda rw\n\
        30 27 0:22 / /srv/a/kernel rw - sysfs sysfs rw\n\
        31 27 0:23 / /srv/b rw - tmpfs tmpfs rw\n\
        32 27 0:4 net:[1] /run/netns/x rw - nsfs nsfs rw\n";

    fn found(path: &str) -> Option<String> {
        kernel(Path::new(path), MOUNTS).map(|found| found.to_string())
    }

    #[test]
    fn finds_what_is_below_and_around() {
        assert_eq!(found("/srv").unwrap(), "the kernel's sysfs at \"/srv/a/kernel\"");
        assert_eq!(
            found("/srv/a/kernel/class").unwrap(),
            "the kernel's sysfs at \"/srv/a/kernel\""
        );
        assert_eq!(found("/").unwrap(), "the kernel's proc at \"/proc\"");
        assert_eq!(found("/proc/sys").unwrap(), "the kernel's proc at \"/proc\"");
        assert_eq!(found("/run/netns").unwrap(), "the kernel's nsfs at \"/run/netns/x\"");
        for plain in ["/srv/b", "/srv/b/c", "/home", "/srv/a/k", "/procession"] {
            assert_eq!(found(plain), None, "{plain}");
        }
    }

    #[test]
    fn closed_folders_are_found_below_and_around_even_when_they_are_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().canonicalize().unwrap();
        let (kept, link) = (here.join("kept"), here.join("link"));
        std::os::unix::fs::symlink(&here, &link).unwrap();
        let list = [link.join("kept")];
        let expected = Some(Exposed::Closed(kept.clone()));
        let check = || {
            for path in [&here, &link, &kept, &link.join("kept"), &kept.join("a/b")] {
                assert_eq!(closed(path, &list), expected, "{path:?}");
            }
            assert_eq!(closed(&here.join("kept-not"), &list), None);
        };
        check();
        std::fs::create_dir(&kept).unwrap();
        check();
    }

    #[test]
    fn finds_sockets_by_whatever_path() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().canonicalize().unwrap();
        let (inside, link) = (here.join("inside"), here.join("link"));
        std::fs::create_dir(&inside).unwrap();
        std::os::unix::fs::symlink(&inside, &link).unwrap();
        assert_eq!(through(&link, &[]).unwrap(), None);
        let socket = inside.join("socket");
        let _server = UnixListener::bind(&socket).unwrap();
        let expected = Some(Exposed::Socket(socket.clone()));
        for path in [&here, &inside, &link, &socket] {
            assert_eq!(through(path, &[]).unwrap(), expected, "{path:?}");
            assert_eq!(through(path, std::slice::from_ref(&inside)).unwrap(), None, "{path:?}");
        }
        through(&here.join("absent"), &[]).unwrap_err();
    }
}
