//! What this Mac offers to a jail.

use std::ffi::OsStr;

use httpjail_macos::{accounts, natlook::Pf};

use crate::backend::{
    finding::{Finding, State},
    user::Identity,
};

/// Where the system's own rules are.
const PF_CONF: &str = "/etc/pf.conf";
/// What leads from them to a jail's (see `httpjail_macos::anchor`).
const WAYS: [&str; 2] = ["rdr-anchor \"com.apple/*\"", "anchor \"com.apple/*\""];

/// Looks at every guard. What the caller may not try is said to be unknown.
pub fn findings() -> Vec<Finding> {
    vec![
        Finding {
            guard: "pf",
            holds: "TCP and UDP of the jail's user",
            since: "10.7",
            mandatory: true,
            state: pf(),
            remedy: None,
        },
        Finding {
            guard: "pf anchors",
            holds: "without these lines no rule of a jail is ever asked",
            since: "10.7",
            mandatory: true,
            state: ways(),
            remedy: Some(
                "restore the lines with com.apple in /etc/pf.conf, and: sudo pfctl -f /etc/pf.conf",
            ),
        },
        Finding {
            guard: "account",
            holds: "the jail's processes from those of others",
            since: "10.7",
            mandatory: true,
            state: account(),
            remedy: Some("sudo httpjail setup"),
        },
    ]
}

/// The running kernel's version, as it calls itself.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn pf() -> State {
    if !rustix::process::geteuid().is_root() {
        return State::Unknown("only root can try it");
    }
    match Pf::open() {
        Ok(_) => State::Holds("/dev/pf can be asked".to_owned()),
        Err(error) => State::Missing(format!("/dev/pf: {error}")),
    }
}

fn ways() -> State {
    let conf = match std::fs::read_to_string(PF_CONF) {
        Ok(conf) => conf,
        Err(error) => return State::Missing(format!("{PF_CONF}: {error}")),
    };
    let is_there = |way: &&str| conf.lines().any(|line| line.trim().starts_with(way));
    match WAYS.iter().find(|way| !is_there(way)) {
        None => State::Holds(format!("{PF_CONF} leads to com.apple")),
        Some(way) => State::Missing(format!("{PF_CONF} has no line: {way}")),
    }
}

fn account() -> State {
    match Identity::named(OsStr::new(accounts::DEFAULT)) {
        Ok(account) => State::Holds(format!("{} has the id {}", accounts::DEFAULT, account.uid())),
        Err(error) => State::Missing(format!("{}: {error}", accounts::DEFAULT)),
    }
}
