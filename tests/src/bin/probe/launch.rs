//! Starting another program in a place or with a thing that it would not otherwise have.

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use httpjail_tests::{cgroup, sys};
use rustix::io::FdFlags;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};

/// Where httpjail keeps what it knows of its runs.
const RUNS: &str = "/run/httpjail";

/// `run-in CGROUP -- COMMAND…` moves into a cgroup first; `seclude CGROUP -- COMMAND…` also makes it
/// the root of all cgroups that the command can see, with a /run/httpjail of its own; `holding
/// ADDRESS -- COMMAND…` connects first and lets the command inherit the socket; `without landlock --
/// COMMAND…` runs it as on a kernel that has no Landlock. Comes back only with an error.
pub(crate) fn run(how: &str, words: Vec<OsString>) -> io::Error {
    let [place, _dashes, program, arguments @ ..] = words.as_slice() else {
        return io::Error::other("wants PLACE -- COMMAND…");
    };
    let held = match how {
        "run-in" => enter(Path::new(place)).map(|()| None),
        "seclude" => seclude(Path::new(place)).map(|()| None),
        "without" => sys::take_landlock_away().map(|()| None),
        _ => hold(&place.to_string_lossy()).map(Some),
    };
    match held {
        Ok(_socket) => Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}

fn enter(cgroup: &Path) -> io::Result<()> {
    std::fs::write(cgroup.join("cgroup.procs"), "0")
}

fn seclude(cgroup: &Path) -> io::Result<()> {
    enter(cgroup)?;
    let mount_point = cgroup::mount();
    sys::unshare_cgroups()?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    unmount(&mount_point, UnmountFlags::DETACH)?; // The kernel refuses to stack a filesystem on itself.
    mount("cgroup2", mount_point, "cgroup2", MountFlags::empty(), None)?;
    std::fs::create_dir_all(RUNS)?;
    mount("tmpfs", RUNS, "tmpfs", MountFlags::empty(), None)?;
    Ok(())
}

fn hold(address: &str) -> io::Result<TcpStream> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let socket = TcpStream::connect(address)?;
    rustix::io::fcntl_setfd(&socket, FdFlags::empty())?;
    Ok(socket)
}
