//! What the entries have in common: who tries, and when an act counts as kept in.

use httpjail_tests::{BANNER, Invocation, Lab};
use serde_json::Value;

/// A rule under which all that is an HTTP request may leave.
const EVERYTHING: &str = "true";

/// Who does an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The lab's plain user.
    User,
    /// Root, with the capabilities that the place leaves.
    Root,
}

impl Who {
    /// Both, as every jail has to hold.
    pub(crate) const BOTH: [Self; 2] = [Self::User, Self::Root];

    /// A jail in which everything that is an HTTP request is allowed.
    pub(crate) fn jail(self, lab: &Lab) -> Invocation<'_> {
        self.jail_by(lab, EVERYTHING)
    }

    /// A jail with a rule of the test's own.
    pub(crate) fn jail_by<'lab>(self, lab: &'lab Lab, rule: &str) -> Invocation<'lab> {
        let jail = lab.jail().js(rule);
        match self {
            Self::User => jail.as_user(),
            Self::Root => jail.option("--user").option("root"),
        }
    }

    /// The same person without a jail.
    pub(crate) fn outside(self, lab: &Lab) -> Invocation<'_> {
        match self {
            Self::User => lab.outside().as_user(),
            Self::Root => lab.outside(),
        }
    }
}

/// Each act puts its mark on the wire when `free` does it without a jail; in a jail, not one packet
/// reaches the wire, whoever does it.
pub(crate) fn assert_nothing_sent(lab: &Lab, free: Who, acts: &[&[&str]]) {
    for (number, act) in acts.iter().enumerate() {
        let mark = format!("outside-{number}.");
        let twin = free.outside(lab).probe(act.iter().chain(&["--mark", &mark])).exits(0);
        assert!(lab.saw(&mark), "{act:?} doesn't get out without a jail: {twin:?}");
        for who in Who::BOTH {
            lab.assert_silent(|| {
                let act = act.iter().chain(&["--mark", "inside"]);
                let jailed = who.jail(lab).probe(act).exits(0).report();
                assert!(jailed["ok"].is_boolean(), "it was tried: {jailed}");
            });
        }
    }
}

/// Each act is told the banner of the SSH server when a plain user does it without a jail; in a
/// jail it is not, and not one packet reaches the wire, whoever does it.
pub(crate) fn assert_no_banner(lab: &Lab, acts: &[&[&str]]) {
    lab.banner_server();
    for act in acts {
        let act: Vec<_> = act.iter().chain(&["--mark", "SSH-2.0-probe\r\n"]).collect();
        let twin = Who::User.outside(lab).probe(&act).exits(0);
        assert!(twin.stdout.contains(BANNER), "{act:?}: no banner without a jail: {twin:?}");
        for who in Who::BOTH {
            lab.assert_silent(|| {
                let jailed = who.jail(lab).probe(&act).exits(0);
                assert!(!jailed.stdout.contains(BANNER), "{who:?}: {jailed:?}");
            });
        }
    }
}

/// Each act is done when `free` does it without a jail, and refused in a jail with `errno`, whoever
/// does it.
pub(crate) fn assert_refused(lab: &Lab, free: Who, errno: &[i32], acts: &[&[&str]]) {
    for act in acts {
        let twin = free.outside(lab).probe(*act).exits(0).report();
        assert_eq!(twin["ok"], true, "{act:?} without a jail: {twin}");
        for who in Who::BOTH {
            let jailed = who.jail(lab).probe(*act).exits(0).report();
            assert_eq!(jailed["ok"], false, "{act:?} as {who:?}: {jailed}");
            assert!(was(&jailed, errno), "{act:?} as {who:?}: {jailed}");
        }
    }
}

fn was(report: &Value, errno: &[i32]) -> bool {
    errno.iter().any(|errno| report["errno"] == *errno)
}
