//! The plan of what the jail sees of the machine's file systems, made before the clone.

use std::{
    collections::BTreeSet,
    ffi::{CStr, CString, OsStr, OsString},
    fs::{self, Permissions},
    io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileTypeExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use crate::backend::linux::procfs;

/// Where the kernel shows itself; one recursive change covers most of what [`SETTINGS`] names.
const SYS: &str = "/sys";
/// Where the jail's own processes show.
pub(super) const PROC: &CStr = c"/proc";
/// Where users' sessions have a folder each.
const SESSIONS: &str = "/run/user";
/// Where X servers have their sockets.
const DISPLAYS: &str = "/tmp/.X11-unix";
/// File systems whose files are settings of the kernel: cgroups above all.
pub(in crate::backend::linux) const SETTINGS: [&[u8]; 9] = [
    b"bpf",
    b"cgroup",
    b"cgroup2",
    b"configfs",
    b"debugfs",
    b"efivarfs",
    b"securityfs",
    b"sysfs",
    b"tracefs",
];
/// The options of a folder in which there is nothing, and never will be.
const EMPTY: &str = "mode=0555,size=4k,nr_inodes=1";
/// Devices by which packets leave past every hook.
const DEVICES: [&str; 4] = ["/dev/net/tun", "/dev/vhost-net", "/dev/vhost-vsock", "/dev/vsock"];
/// Sockets of daemons that do others' bidding. Most are found where the kernel lists them, but not
/// those of a daemon in another network namespace: that of the host, seen from a container.
pub(in crate::backend::linux) const KNOWN_SOCKETS: [&str; 18] = [
    "/run/avahi-daemon/socket",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cups/cups.sock",
    "/run/dbus/system_bus_socket",
    "/run/docker.sock",
    "/run/incus/unix.socket",
    "/run/libvirt/libvirt-sock",
    "/run/nscd/socket",
    "/run/podman/podman.sock",
    "/run/snapd.socket",
    "/run/systemd/journal/dev-log",
    "/run/systemd/journal/socket",
    "/run/systemd/journal/stdout",
    "/run/systemd/notify",
    "/run/systemd/private",
    "/run/systemd/resolve/io.systemd.Resolve",
    "/var/lib/incus/unix.socket",
];
/// `__SO_ACCEPTCON` (include/linux/net.h): the flag of a socket that listens.
const LISTENS: u32 = 1 << 16;
/// `SOCK_DGRAM`: such a socket gets datagrams without listening.
const DATAGRAMS: u32 = 2;

/// What is changed in the jail's own mount namespace. Paths.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    /// Mounts to make read-only, with all below them.
    pub(super) read_only_trees: Vec<CString>,
    /// Mounts to make read-only, each for itself.
    pub(super) read_only: Vec<CString>,
    /// Mounts that show the processes of another namespace, to be covered by the jail's own.
    pub(super) foreign_proc: Vec<CString>,
    /// Folders to be ones of the jail's own.
    pub(super) private: Vec<Private>,
    /// Sockets and devices to put `/dev/null` on. One that is gone by then needs none.
    pub(super) masked: Vec<CString>,
    /// The working directory, and what covers it: a process that is in a folder sees nothing of what
    /// is mounted over it or above it.
    pub(super) working: Option<(CString, CString)>,
}

/// A folder that the jail has to itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Private {
    pub(super) folder: CString,
    /// The options of its tmpfs.
    pub(super) options: CString,
    /// What of the machine's own folder is in it nevertheless.
    pub(super) kept: Vec<Kept>,
}

/// A socket, or a folder of such, that stays in view below a folder of the jail's own.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Where it is, from the folder on.
    pub(super) within: CString,
    /// The same as a whole path.
    pub(super) path: CString,
    /// The folders between, from the outermost on.
    pub(super) parents: Vec<CString>,
    pub(super) is_folder: bool,
    /// Whose the folders between are.
    pub(super) user: (u32, u32),
}

impl View {
    /// Looks at the machine as it is now, for a command of `user` (user and group). The sockets at
    /// or below `open`, which are canonical paths, stay in view; the folders `hidden` are empty.
    ///
    /// # Errors
    ///
    /// When `/proc` can't be read.
    pub(super) fn plan(open: &[PathBuf], hidden: &[PathBuf], user: (u32, u32)) -> io::Result<Self> {
        // The clone copies this thread's namespaces. Paths are bytes: daemons choose their names.
        let mounts = procfs::read("/proc/thread-self/mountinfo")?;
        let sockets = procfs::read("/proc/thread-self/net/unix")?;
        let is_hidden = |path: &Path| is_socket(path) && !is_open(path, open);
        make_place_for_displays();
        let private = private(user).into_iter();
        let private = private.filter_map(|(path, options)| {
            let private = is_folder(&path) && !open.iter().any(|open| path.starts_with(open));
            private.then(|| Private::plan(&path, options, open, user)).flatten()
        });
        let hidden = hidden.iter().filter(|path| is_folder(path));
        let hidden = hidden.filter_map(|path| Private::plan(path, EMPTY.to_owned(), &[], user));
        let private = private.chain(hidden);
        let view = Self { private: private.collect(), ..Self::of(&mounts, &sockets, is_hidden) };
        // Its path even if it was removed, where getcwd(3) has none.
        let place = fs::read_link("/proc/thread-self/cwd")?;
        let working = view.covers(&place);
        if let Some((_, cover)) = working.as_ref().filter(|(_, cover)| cover.as_c_str() != PROC) {
            tracing::warn!("{place:?} isn't seen in the jail, which has a {cover:?} of its own");
        }
        Ok(Self { working, ..view })
    }

    /// A working directory that is covered.
    fn covers(&self, working: &Path) -> Option<(CString, CString)> {
        let private = self.private.iter().map(|private| private.folder.as_c_str());
        let mut covers =
            self.foreign_proc.iter().map(CString::as_c_str).chain(private).chain([PROC]);
        let is_above = |cover: &&CStr| working.starts_with(OsStr::from_bytes(cover.to_bytes()));
        let cover = covers.find(is_above)?.to_owned();
        // What is appended to the path of a removed folder holds no NUL, either.
        Some((CString::new(working.as_os_str().as_bytes()).ok()?, cover))
    }

    fn of(mounts: &[u8], sockets: &[u8], is_hidden: impl Fn(&Path) -> bool) -> Self {
        let mounts: Vec<Mount> = lines(mounts).filter_map(Mount::parse).collect();
        let has_sys = mounts.iter().any(|mount| mount.point == Path::new(SYS));
        let settings = mounts.iter().filter(|mount| SETTINGS.contains(&mount.kind.as_slice()));
        let elsewhere = settings.filter(|mount| !has_sys || !mount.point.starts_with(SYS));
        let foreign = mounts.iter().filter(|mount| mount.kind == b"proc" && mount.is_foreign());
        // A single file that was mounted may be the socket of a daemon outside of a container.
        let files = mounts.iter().filter(|mount| mount.is_part).map(|mount| mount.point.clone());
        let known = KNOWN_SOCKETS.iter().map(PathBuf::from);
        let sockets = lines(sockets).filter_map(bound_path).chain(files).chain(known);
        let sockets: BTreeSet<PathBuf> = sockets.filter(|path| is_hidden(path)).collect();
        let masked = DEVICES.iter().map(PathBuf::from).chain(sockets);
        Self {
            read_only_trees: c_paths(has_sys.then(|| PathBuf::from(SYS))),
            read_only: c_paths(elsewhere.map(|mount| mount.point.clone())),
            foreign_proc: c_paths(foreign.map(|mount| mount.point.clone())),
            private: Vec::new(),
            masked: c_paths(masked),
            working: None,
        }
    }
}

impl Private {
    /// Keeps of `open` what is below `folder`.
    fn plan(folder: &Path, options: String, open: &[PathBuf], user: (u32, u32)) -> Option<Self> {
        let is_inner =
            |path: &&PathBuf| !open.iter().any(|other| other != *path && path.starts_with(other));
        let kept: BTreeSet<&PathBuf> =
            open.iter().filter(|path| path.starts_with(folder)).filter(is_inner).collect();
        let kept = kept.into_iter().filter_map(|path| Kept::plan(folder, path, user)).collect();
        Some(Self {
            folder: c_paths([folder.to_owned()]).pop()?,
            options: CString::new(options).ok()?,
            kept,
        })
    }
}

impl Kept {
    fn plan(folder: &Path, path: &Path, user: (u32, u32)) -> Option<Self> {
        let within = path.strip_prefix(folder).ok()?.to_owned();
        let between = path.ancestors().skip(1).take_while(|above| *above != folder);
        let mut parents = c_paths(between.map(Path::to_owned));
        parents.reverse();
        Some(Self {
            within: c_paths([within]).pop()?,
            path: c_paths([path.to_owned()]).pop()?,
            parents,
            is_folder: is_folder(path),
            user,
        })
    }
}

/// Makes the folder of X servers, as the system's start does on most machines: one that is made later
/// would be in view. It stays, for it would be missed by other jails. Without it nothing is lost but
/// that.
fn make_place_for_displays() {
    let made = fs::create_dir(DISPLAYS);
    let opened = made.and_then(|()| fs::set_permissions(DISPLAYS, Permissions::from_mode(0o1777)));
    match opened {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            tracing::debug!(%error, "{DISPLAYS} can't be made");
        }
        Ok(()) | Err(_) => {}
    }
}

/// Where programs of a user's own put their sockets, later ones too: the session's bus and agents,
/// and X servers. The jail's may do so as well, so what takes their place has the same owners. A
/// session's folder is made when the user logs in, which may be later.
fn private((user, group): (u32, u32)) -> [(PathBuf, String); 2] {
    let folder = PathBuf::from(format!("{SESSIONS}/{user}"));
    let session = match is_folder(&folder) {
        true => (folder, format!("mode=0700,uid={user},gid={group},size=10%")),
        false => (SESSIONS.into(), "mode=0755,size=1m".to_owned()),
    };
    [session, (DISPLAYS.into(), "mode=1777,size=1m".to_owned())]
}

fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

/// A line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
pub(in crate::backend::linux) struct Mount {
    pub(in crate::backend::linux) point: PathBuf,
    pub(in crate::backend::linux) kind: Vec<u8>,
    /// Not a whole file system, but a folder or a file of one.
    is_part: bool,
}

impl Mount {
    pub(in crate::backend::linux) fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let root = fields.nth(3)?;
        let point = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
        // Optional fields end with a hyphen.
        fields.by_ref().find(|field| *field == b"-")?;
        let kind = fields.next()?.to_vec();
        Some(Self { point, kind, is_part: root != b"/" })
    }

    /// For a mount of `/proc`: not the one that the jail's own covers, nor below it.
    fn is_foreign(&self) -> bool {
        !self.point.starts_with("/proc")
    }
}

/// The path of a line of `/proc/net/unix` (`Num RefCount Protocol Flags Type St Inode Path`,
/// numbers in hexadecimal), when others can connect or send to it. Abstract names begin with `@`;
/// a relative path means nothing here.
pub(in crate::backend::linux) fn bound_path(line: &[u8]) -> Option<PathBuf> {
    let mut rest = line;
    let mut field = || {
        let start = rest.iter().position(|&byte| byte != b' ')?;
        let (_, from) = rest.split_at_checked(start)?;
        let end = from.iter().position(|&byte| byte == b' ')?;
        let (field, after) = from.split_at_checked(end)?;
        rest = after;
        Some(field)
    };
    let flags = hexadecimal(field_at(&mut field, 3)?)?;
    let kind = hexadecimal(field()?)?;
    field_at(&mut field, 1)?;
    let path = rest.strip_prefix(b" ")?;
    let open = flags & LISTENS != 0 || kind == DATAGRAMS;
    (open && path.starts_with(b"/")).then(|| PathBuf::from(OsString::from_vec(path.to_vec())))
}

/// The field after `skipped` others.
fn field_at<'a>(field: &mut impl FnMut() -> Option<&'a [u8]>, skipped: usize) -> Option<&'a [u8]> {
    for _ in 0..skipped {
        field()?;
    }
    field()
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// Undoes the kernel's escapes: space, tab, newline and backslash are `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|digits| str::from_utf8(digits).ok());
        let code = code.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if byte == b'\\' => {
                plain.push(code);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

pub(in crate::backend::linux) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
}

pub(crate) fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket())
}

/// Daemons are known by the paths that they gave to bind(2), which may lead through links.
pub(in crate::backend::linux) fn is_open(path: &Path, open: &[PathBuf]) -> bool {
    let is_below = |path: PathBuf| open.iter().any(|open| path.starts_with(open));
    !open.is_empty() && path.canonicalize().is_ok_and(is_below)
}

/// A path with a NUL byte can't be one of a file.
fn c_paths(paths: impl IntoIterator<Item = PathBuf>) -> Vec<CString> {
    paths.into_iter().filter_map(|path| CString::new(path.as_os_str().as_bytes()).ok()).collect()
}

#[cfg(test)]
mod tests;
