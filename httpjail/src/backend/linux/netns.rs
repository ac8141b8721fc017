//! A network namespace in which nothing but lo is: the network of a container.
//!
//! There is no route out of it, whatever is in it and whatever guards it. Its sockets are all the
//! network there is, so the proxy's are made in it.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    panic,
    path::Path,
    ptr, thread,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// A network namespace, kept alive by this.
#[derive(Debug)]
pub(crate) struct Netns(File);

impl Netns {
    /// Makes one, and brings its lo up.
    ///
    /// # Errors
    ///
    /// When the kernel gives none.
    pub(crate) fn make() -> io::Result<Self> {
        apart(|| {
            // SAFETY: takes flags alone; it's this thread's network alone that changes.
            checked(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
            bring_up_lo()?;
            File::open("/proc/thread-self/ns/net").map(Self)
        })?
    }

    /// That of a process.
    ///
    /// # Errors
    ///
    /// When the process isn't there.
    pub(crate) fn of_process(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/ns/net")).map(Self)
    }

    /// Whether both are one.
    ///
    /// # Errors
    ///
    /// What `fstat(2)` says.
    pub(crate) fn is(&self, other: &Self) -> io::Result<bool> {
        let identity = |file: &File| file.metadata().map(|file| (file.dev(), file.ino()));
        Ok(identity(&self.0)? == identity(&other.0)?)
    }

    /// Does something in it, on a thread that ends with it.
    ///
    /// # Errors
    ///
    /// When it can't be entered.
    pub(crate) fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> io::Result<T> {
        apart(|| {
            // SAFETY: takes plain numbers; it's this thread's network alone that changes.
            checked(unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) })?;
            Ok(act())
        })?
    }

    /// Gives its lo the address `::1`, which docker takes away, if the kernel has IPv6 at all.
    ///
    /// # Errors
    ///
    /// When it can't be entered.
    pub(crate) fn enable_ipv6(&self) -> io::Result<()> {
        let enabled = self.inside(|| fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0"))?;
        if let Err(error) = enabled {
            tracing::debug!(%error, "the container's network has no IPv6");
        }
        Ok(())
    }

    /// Gives it a path, which has to be free. It lives on for as long as that.
    ///
    /// # Errors
    ///
    /// When the file can't be made or covered.
    pub(crate) fn pin(&self, path: &Path) -> io::Result<()> {
        File::create_new(path)?;
        let source = CString::new(format!("/proc/self/fd/{}", self.0.as_raw_fd()))?;
        let target = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: two texts that end in NUL; a bind mount looks at neither type nor data.
        let mounted = unsafe {
            let (source, target) = (source.as_ptr(), target.as_ptr());
            libc::mount(source, target, ptr::null(), libc::MS_BIND, ptr::null())
        };
        checked(mounted)
    }
}

/// Takes the path away that [`Netns::pin`] gave, if there is one.
pub(crate) fn unpin(path: &Path) {
    if let Ok(text) = CString::new(path.as_os_str().as_bytes()) {
        // SAFETY: a text that ends in NUL. Where nothing is mounted, nothing happens.
        unsafe { libc::umount2(text.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) };
    }
    let _ = fs::remove_file(path);
}

/// Runs `act` on a thread of its own, which is gone afterwards.
fn apart<T: Send>(act: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, act)?;
        Ok(thread.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)))
    })
}

/// netdevice(7), SIOCSIFFLAGS.
fn bring_up_lo() -> io::Result<()> {
    let socket: OwnedFd = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all zeroes is a valid ifreq: an empty name, and no flag.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = byte.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    let (fd, request) = (socket.as_raw_fd(), &raw const request);
    // SAFETY: the kernel reads one ifreq.
    checked(unsafe { libc::ioctl(fd, libc::SIOCSIFFLAGS, request) })
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn has_lo_and_nothing_else() {
        let netns = Netns::make().unwrap();
        let own = Netns::of_process(std::process::id()).unwrap();
        assert!(!netns.is(&own).unwrap() && own.is(&own).unwrap());
        let (listener, devices) = netns
            .inside(|| {
                (TcpListener::bind("127.0.0.1:0"), fs::read_to_string("/proc/thread-self/net/dev"))
            })
            .unwrap();
        let address = listener.unwrap().local_addr().unwrap();
        let devices = devices.unwrap();
        let named: Vec<_> = devices.lines().filter_map(|line| line.split_once(':')).collect();
        assert_eq!(named.iter().map(|(name, _)| name.trim()).collect::<Vec<_>>(), ["lo"]);
        std::net::TcpStream::connect(address).unwrap_err();
    }

    #[test]
    fn has_ipv6_again_when_it_was_taken_away() {
        let netns = Netns::make().unwrap();
        let binds = || netns.inside(|| TcpListener::bind("[::1]:0").is_ok()).unwrap();
        let disable = || fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1");
        netns.inside(disable).unwrap().unwrap();
        assert!(!binds());
        netns.enable_ipv6().unwrap();
        assert!(binds());
    }

    #[test]
    fn has_a_path_while_it_is_pinned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("netns");
        let netns = Netns::make().unwrap();
        netns.pin(&path).unwrap();
        assert!(Netns(File::open(&path).unwrap()).is(&netns).unwrap());
        netns.pin(&path).unwrap_err();
        unpin(&path);
        assert!(!path.exists());
        unpin(&path);
    }
}
