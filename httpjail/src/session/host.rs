//! What this host has for a jail: the sockets that stay open, the ports that can be bound, the
//! guards that it lacks.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use httpjail_common::jail::Published;

use super::SessionError;
use crate::{backend::finding::Optional, cli::plan::Lacking};

/// Finds the sockets and folders that stay open, whatever the paths that were given for them.
///
/// # Errors
///
/// When one isn't there: a misspelt path would leave hidden what was meant.
pub(super) fn sockets(given: &[PathBuf]) -> Result<Vec<PathBuf>, SessionError> {
    let open = |path: &PathBuf| {
        canonical(path).map_err(|source| SessionError::AllowUnix { path: path.clone(), source })
    };
    given.iter().map(open).collect()
}

fn canonical(path: &Path) -> io::Result<PathBuf> {
    let canonical = path.canonicalize()?;
    let kind = canonical.symlink_metadata()?.file_type();
    if kind.is_socket() || kind.is_dir() {
        return Ok(canonical);
    }
    Err(io::Error::other("it is neither a socket nor a folder"))
}

/// Warns of published ports that a command which isn't root can't bind here.
pub(super) fn tell_of_low_ports(published: &Published, is_root: bool) {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let first = first.ok().and_then(|first| first.trim().parse().ok()).unwrap_or(FIRST_OF_ALL);
    if let Some(warning) = low_ports(published, first).filter(|_| !is_root) {
        tracing::warn!("{warning}");
    }
}

/// The kernel's own choice (`PROT_SOCK`, include/net/sock.h).
const FIRST_OF_ALL: u16 = 1024;

fn low_ports(published: &Published, first: u16) -> Option<String> {
    let ports = published.ports().filter(|port| *port < first).map(|port| port.to_string());
    let named = ports.reduce(|all, port| all + ", " + &port)?;
    Some(format!(
        "--publish {named}: the command isn't root and can't bind ports below {first} \
         (net.ipv4.ip_unprivileged_port_start)"
    ))
}

/// Warns of a guard that is missing here, or refuses to go on.
///
/// # Errors
///
/// When the plan wants every guard.
pub(super) fn tell_of_missing_guard(
    lacking: Lacking,
    missing: Option<Optional>,
) -> Result<(), SessionError> {
    match (lacking, missing) {
        (_, None) => Ok(()),
        (Lacking::Warn, Some(Optional { guard, holds, .. })) => {
            tracing::warn!("this host lacks the guard {guard}, which holds back {holds}");
            Ok(())
        }
        (Lacking::Refuse, Some(missing)) => Err(SessionError::Lacking(missing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_ports_that_a_plain_user_cannot_bind() {
        let port = |port| std::num::NonZeroU16::new(port).unwrap();
        let published = Published::new(&[port(80), port(443), port(8080)]).unwrap();
        assert_eq!(low_ports(&published, 0), None);
        assert_eq!(low_ports(&published, 80), None);
        assert_eq!(
            low_ports(&published, 1024).unwrap(),
            "--publish 80, 443: the command isn't root and can't bind ports below 1024 \
             (net.ipv4.ip_unprivileged_port_start)"
        );
    }

    #[test]
    fn takes_sockets_and_folders_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().canonicalize().unwrap();
        let socket = here.join("socket");
        let _server = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let (link, file) = (here.join("link"), here.join("file"));
        std::os::unix::fs::symlink(&here, &link).unwrap();
        std::fs::write(&file, "").unwrap();
        let given = [socket.clone(), link.join("socket"), link];
        assert_eq!(sockets(&given).unwrap(), [socket.clone(), socket, here.clone()]);
        for wrong in [file, here.join("absent")] {
            assert!(sockets(&[wrong]).is_err());
        }
    }
}
