//! Whom the command runs as: the user who called sudo, or one that was named.

use std::{
    env,
    ffi::{CString, OsStr, OsString},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

use super::{groups, passwd::Entry};

/// A user to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    uid: libc::uid_t,
    gid: libc::gid_t,
    groups: Vec<libc::gid_t>,
    name: OsString,
    home: PathBuf,
    shell: PathBuf,
}

/// A user who can't be told.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A variable that sudo sets holds something else than sudo writes there.
    #[error("read {variable}: {value:?} is no user or group id")]
    Id {
        /// The variable.
        variable: &'static str,
        /// What it holds; empty when it isn't set.
        value: OsString,
    },
    /// There is no such user.
    #[error("find the user {0:?}")]
    Unknown(OsString),
    /// The user database doesn't answer.
    #[error("look up the user {user}")]
    Lookup {
        /// The user's name or id.
        user: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The group database gives no end of groups.
    #[error("look up the groups of user {uid}")]
    Groups {
        /// The user.
        uid: libc::uid_t,
    },
}

/// The user who started this process by sudo; `None` when there is no other user to go back to:
/// root without sudo stays root, and a plain user stays who they are.
///
/// # Errors
///
/// When sudo's variables are damaged or the user can't be looked up. The command must not be
/// run as root then.
pub fn invoking_user() -> Result<Option<Identity>, UserError> {
    let (uid, gid) = (env::var_os("SUDO_UID"), env::var_os("SUDO_GID"));
    match sudo_ids(geteuid().is_root(), uid, gid)? {
        Some((uid, gid)) => Identity::look_up(uid, gid).map(Some),
        None => Ok(None),
    }
}

/// Whom the command runs as: `user` where one was named, else [`invoking_user`]. `None`: who runs
/// this process.
///
/// # Errors
///
/// When the user can't be told; the command must not be run then.
pub fn of_command(user: Option<&OsStr>) -> Result<Option<Identity>, UserError> {
    match user {
        Some(user) => Identity::named(user).map(|identity| Some(identity).filter(|it| it.uid != 0)),
        None => invoking_user(),
    }
}

impl Identity {
    /// The user `uid` with the primary group `gid`, and the rest from the system's databases. A
    /// user whom they don't know has no other groups and no home.
    ///
    /// # Errors
    ///
    /// When a database doesn't answer.
    pub fn look_up(uid: libc::uid_t, gid: libc::gid_t) -> Result<Self, UserError> {
        let failed = |source| UserError::Lookup { user: uid.to_string(), source };
        match Entry::by_uid(uid).map_err(failed)? {
            Some(entry) => Self::from_entry(Entry { uid, gid, ..entry }),
            None => Ok(Self {
                uid,
                gid,
                groups: vec![gid],
                name: uid.to_string().into(),
                home: "/".into(),
                shell: "/bin/sh".into(),
            }),
        }
    }

    /// The user of this name, else of this id. An id that the system's databases don't know is its
    /// own group's id, too.
    ///
    /// # Errors
    ///
    /// When there is no such user, or a database doesn't answer.
    pub fn named(user: &OsStr) -> Result<Self, UserError> {
        let failed = |source| UserError::Lookup { user: user.to_string_lossy().into(), source };
        let unknown = || UserError::Unknown(user.to_owned());
        let name = CString::new(user.as_bytes()).map_err(|_| unknown())?;
        if let Some(entry) = Entry::by_name(&name).map_err(failed)? {
            return Self::from_entry(entry);
        }
        let uid = parse_id("the user", user.to_owned()).map_err(|_| unknown())?;
        match Entry::by_uid(uid).map_err(failed)? {
            Some(entry) => Self::from_entry(entry),
            None => Self::look_up(uid, uid),
        }
    }

    fn from_entry(entry: Entry) -> Result<Self, UserError> {
        let Entry { uid, gid, name, home, shell } = entry;
        let groups = groups::of(&name, gid).ok_or(UserError::Groups { uid })?;
        let groups = groups::without_openers(groups, gid);
        let path = |text: CString| PathBuf::from(OsString::from_vec(text.into_bytes()));
        let name = OsString::from_vec(name.into_bytes());
        Ok(Self { uid, gid, groups, name, home: path(home), shell: path(shell) })
    }

    /// The user id.
    pub fn uid(&self) -> libc::uid_t {
        self.uid
    }

    /// The primary group's id.
    pub fn gid(&self) -> libc::gid_t {
        self.gid
    }

    /// The ids of all groups, without those that open the jail.
    pub fn groups(&self) -> &[libc::gid_t] {
        &self.groups
    }

    /// The login name.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// The home directory.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The login shell.
    pub fn shell(&self) -> &Path {
        &self.shell
    }

    #[cfg(test)]
    pub(crate) fn fixture() -> Self {
        Self {
            uid: 65_534,
            gid: 65_533,
            groups: vec![65_533, 1234],
            name: "alice".into(),
            home: "/home/alice".into(),
            shell: "/bin/bash".into(),
        }
    }
}

/// Whom sudo was called by, from the variables that it sets (sudo(8), ENVIRONMENT). They mean
/// something only to root: anybody else may have written them.
fn sudo_ids(
    is_root: bool,
    uid: Option<OsString>,
    gid: Option<OsString>,
) -> Result<Option<(libc::uid_t, libc::gid_t)>, UserError> {
    let Some(uid) = uid.filter(|_| is_root) else { return Ok(None) };
    let uid = parse_id("SUDO_UID", uid)?;
    if uid == 0 {
        return Ok(None);
    }
    Ok(Some((uid, parse_id("SUDO_GID", gid.unwrap_or_default())?)))
}

/// An id as sudo writes it: decimal, and not -1, which means "leave it" to the kernel.
fn parse_id(variable: &'static str, value: OsString) -> Result<u32, UserError> {
    let digits = value.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(id) if id != u32::MAX => Ok(id),
        Some(_) | None => Err(UserError::Id { variable, value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(root: bool, uid: &str, gid: &str) -> Result<Option<(u32, u32)>, UserError> {
        let set = |value: &str| (value != "unset").then(|| OsString::from(value));
        sudo_ids(root, set(uid), set(gid))
    }

    #[test]
    fn goes_back_to_the_user_who_called_sudo() {
        assert_eq!(ids(true, "1000", "1000").unwrap(), Some((1000, 1000)));
        assert_eq!(ids(true, "4294967294", "0").unwrap(), Some((4_294_967_294, 0)));
    }

    #[test]
    fn stays_when_there_is_nobody_to_go_back_to() {
        assert_eq!(ids(true, "unset", "unset").unwrap(), None);
        assert_eq!(ids(true, "unset", "1000").unwrap(), None);
        assert_eq!(ids(true, "0", "0").unwrap(), None);
        assert_eq!(ids(false, "1000", "1000").unwrap(), None);
        assert_eq!(ids(false, "nonsense", "").unwrap(), None);
    }

    #[test]
    fn damaged_variables_are_an_error_and_never_mean_root() {
        for damaged in ["", "-1", "+1", " 1", "1 ", "0x1", "root", "4294967295", "4294967296"] {
            assert!(ids(true, damaged, "1000").is_err(), "SUDO_UID={damaged:?}");
            assert!(ids(true, "1000", damaged).is_err(), "SUDO_GID={damaged:?}");
        }
        assert!(ids(true, "1000", "unset").is_err());
    }

    #[test]
    fn looks_a_known_user_up() {
        let root = Identity::look_up(0, 0).unwrap();
        assert_eq!(root.name(), "root");
        assert_eq!(root.home(), Path::new("/root"));
        assert!(root.groups().contains(&0));
    }

    #[test]
    fn finds_a_user_by_name_or_by_id() {
        let nobody = Identity::named(OsStr::new("nobody")).unwrap();
        assert_eq!(Identity::named(OsStr::new(&nobody.uid().to_string())).unwrap(), nobody);
        let nameless = Identity::named(OsStr::new("3999999999")).unwrap();
        assert_eq!((nameless.uid(), nameless.gid()), (3_999_999_999, 3_999_999_999));
        for unknown in ["", "no such user", "-1", "4294967295", "a\0b"] {
            let error = Identity::named(OsStr::new(unknown)).unwrap_err();
            assert!(matches!(error, UserError::Unknown(_)), "{unknown:?}: {error}");
        }
    }

    #[test]
    fn an_unknown_user_has_one_group_and_no_home() {
        let unknown = Identity::look_up(3_999_999_999, 3_999_999_998).unwrap();
        assert_eq!(unknown.groups(), [3_999_999_998]);
        assert_eq!(unknown.home(), Path::new("/"));
        assert_eq!(unknown.name(), "3999999999");
    }
}
