//! The accounts that jailed commands run as: pf knows a jail by its user, so each jail that lives
//! has one to itself. They are made once, by `httpjail setup`, through dscl(1).

use std::{collections::BTreeSet, io, ops::RangeInclusive, process::Command};

/// The account of a jail that names no other.
pub const DEFAULT: &str = "_httpjail";
/// By its path: it runs as root.
const DSCL: &str = "/usr/bin/dscl";
/// Where ids of new accounts come from: below 500 an account is no person's and isn't shown at the
/// login window, and Apple's own services stay below 400.
const IDS: RangeInclusive<u32> = 400..=499;
/// The longest name that all parts of macOS take.
const LONGEST_NAME: usize = 31;

/// An account that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Its name isn't that of a jail's account.
    #[error(
        "make the account `{0}`: its name must be {DEFAULT}, or begin so and go on with letters or digits"
    )]
    Name(String),
    /// dscl can't be run.
    #[error("run {DSCL}")]
    Run(#[source] io::Error),
    /// dscl failed.
    #[error("run {DSCL} {arguments}: {said}")]
    Failed {
        /// How it was called.
        arguments: String,
        /// Its own words.
        said: String,
    },
    /// All ids are taken.
    #[error("find a free id between 400 and 499 for the account")]
    NoId,
}

/// Whether an account of this name is for jails alone. At its end a run kills all processes of its
/// user, and while it lives pf cuts that user off: no person's account may be used for that.
pub fn is_for_jails(name: &str) -> bool {
    let rest = name.strip_prefix(DEFAULT);
    let is_plain = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    rest.is_some_and(is_plain) && name.len() <= LONGEST_NAME
}

/// Makes the account, and a group of the same name and id.
///
/// # Errors
///
/// When dscl fails; what it made until then stays, and is completed by the next try.
pub fn make(name: &str) -> Result<u32, AccountError> {
    if !is_for_jails(name) {
        return Err(AccountError::Name(name.to_owned()));
    }
    let users = dscl(&words(&["-list", "/Users", "UniqueID"]))?;
    let groups = dscl(&words(&["-list", "/Groups", "PrimaryGroupID"]))?;
    let id = free_id(&users, &groups).ok_or(AccountError::NoId)?;
    for arguments in recipe(name, id) {
        dscl(&arguments)?;
    }
    Ok(id)
}

/// The lowest id that neither a user nor a group has, by dscl's lists of names and ids.
fn free_id(users: &str, groups: &str) -> Option<u32> {
    let lines = users.lines().chain(groups.lines());
    let taken: BTreeSet<u32> =
        lines.filter_map(|line| line.split_whitespace().last()?.parse().ok()).collect();
    IDS.into_iter().find(|id| !taken.contains(id))
}

/// dscl's arguments, one call a line. The account has no password, no home of its own, and no shell
/// for a login.
fn recipe(name: &str, id: u32) -> Vec<Vec<String>> {
    let (group, user, id) = (format!("/Groups/{name}"), format!("/Users/{name}"), id.to_string());
    let entries: [(&str, &str, &str); 10] = [
        (&group, "PrimaryGroupID", &id),
        (&group, "RealName", "httpjail"),
        (&group, "Password", "*"),
        (&user, "UniqueID", &id),
        (&user, "PrimaryGroupID", &id),
        (&user, "RealName", "httpjail"),
        (&user, "NFSHomeDirectory", "/var/empty"),
        (&user, "UserShell", "/usr/bin/false"),
        (&user, "Password", "*"),
        (&user, "IsHidden", "1"),
    ];
    let mut calls = vec![words(&["-create", &group])];
    calls
        .extend(entries.iter().map(|(record, key, value)| words(&["-create", record, key, value])));
    calls
}

fn words(words: &[&str]) -> Vec<String> {
    ["."].iter().chain(words).map(|word| (*word).to_owned()).collect()
}

fn dscl(arguments: &[String]) -> Result<String, AccountError> {
    let output = Command::new(DSCL).args(arguments).output().map_err(AccountError::Run)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(AccountError::Failed { arguments: arguments.join(" "), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_accounts_of_jails_from_those_of_people() {
        for name in ["_httpjail", "_httpjail2", "_httpjailci"] {
            assert!(is_for_jails(name), "{name}");
        }
        for name in
            ["", "root", "alice", "_www", "httpjail", "_httpjail x", "_httpjail/..", "_httpjail_"]
        {
            assert!(!is_for_jails(name), "{name}");
        }
    }

    #[test]
    fn takes_an_id_that_nobody_has() {
        let users = "_analyticsd   263\n_b            400\nnobody        -2\nroot          0\n";
        let groups = "_c            401\neveryone      12\n";
        assert_eq!(free_id(users, groups), Some(402));
        let all: String = IDS.map(|id| format!("u{id} {id}\n")).collect();
        assert_eq!(free_id(&all, ""), None);
    }

    #[test]
    fn makes_an_account_that_nobody_can_log_in_to() {
        let calls: Vec<_> = recipe("_httpjail", 402).iter().map(|call| call.join(" ")).collect();
        insta::assert_snapshot!(calls.join("\n"), @r"
        . -create /Groups/_httpjail
        . -create /Groups/_httpjail PrimaryGroupID 402
        . -create /Groups/_httpjail RealName httpjail
        . -create /Groups/_httpjail Password *
        . -create /Users/_httpjail UniqueID 402
        . -create /Users/_httpjail PrimaryGroupID 402
        . -create /Users/_httpjail RealName httpjail
        . -create /Users/_httpjail NFSHomeDirectory /var/empty
        . -create /Users/_httpjail UserShell /usr/bin/false
        . -create /Users/_httpjail Password *
        . -create /Users/_httpjail IsHidden 1
        ");
    }
}
