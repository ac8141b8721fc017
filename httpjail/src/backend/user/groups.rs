//! The groups of a user, without those whose members can do what only root can.

use std::{collections::HashSet, ffi::CStr, fs};

/// More supplementary groups than Linux knows (`NGROUPS_MAX`).
const MOST_GROUPS: usize = 65_536;
/// Where the machine's own groups are; those of a directory service have no such powers here.
const DATABASE: &str = "/etc/group";
/// Groups whose members can have a daemon start programs outside of the jail, or read and write
/// disks and memory.
const OPENERS: [&[u8]; 9] = [
    b"disk",
    b"docker",
    b"incus",
    b"incus-admin",
    b"kmem",
    b"libvirt",
    b"libvirtd",
    b"lxd",
    b"podman",
];

/// All groups of the user, `gid` among them; `None` when there seems to be no end of them.
pub(super) fn of(name: &CStr, gid: libc::gid_t) -> Option<Vec<libc::gid_t>> {
    let mut groups = vec![0; 64];
    loop {
        let mut count = libc::c_int::try_from(groups.len()).ok()?;
        // The casts are for macOS, whose ids are signed in this call alone (getgrouplist(3)).
        // SAFETY: the name is NUL-terminated, the groups are valid for the count given.
        let result = unsafe {
            libc::getgrouplist(name.as_ptr(), gid as _, groups.as_mut_ptr().cast(), &raw mut count)
        };
        if result >= 0 {
            groups.truncate(usize::try_from(count).ok()?);
            return Some(groups);
        }
        if groups.len() >= MOST_GROUPS {
            return None;
        }
        groups.resize(groups.len() * 4, 0);
    }
}

/// These groups without the openers. The primary one stays: the user's files belong to it.
pub(super) fn without_openers(groups: Vec<libc::gid_t>, gid: libc::gid_t) -> Vec<libc::gid_t> {
    // Without a database nobody says which they are; then getgrouplist(3) has found none there.
    let openers = openers(&fs::read(DATABASE).unwrap_or_default());
    groups.into_iter().filter(|group| *group == gid || !openers.contains(group)).collect()
}

/// The ids of the openers, by group(5): `name:password:id:members`.
fn openers(database: &[u8]) -> HashSet<libc::gid_t> {
    let lines = database.split(|&byte| byte == b'\n');
    let openers = lines.filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next().filter(|name| OPENERS.contains(name));
        let id = name.and_then(|_| fields.nth(1))?;
        str::from_utf8(id).ok()?.parse().ok()
    });
    openers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_openers_by_their_names() {
        let database = b"root:x:0:\ndisk:x:6:\ndocker:x:999:alice,bob\ndockers:x:7:\nlxd:x:\n\
            docker:x:1000:carol\n\ndisk\n";
        assert_eq!(openers(database), HashSet::from([6, 999, 1000]));
        for end in 0..database.len() {
            openers(&database[..end]);
        }
    }

    #[test]
    fn keeps_the_primary_group_and_harmless_ones() {
        let disk = openers(&fs::read(DATABASE).unwrap()).into_iter().next().unwrap();
        assert_eq!(
            without_openers(vec![4_000_000, disk, 5_000_000], 4_000_000),
            [4_000_000, 5_000_000]
        );
        assert_eq!(without_openers(vec![disk], disk), [disk]);
    }
}
