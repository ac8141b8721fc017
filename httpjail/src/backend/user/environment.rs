//! The environment of the command: the caller's, without what would mislead it in the jail.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

use tracing::debug;

use super::Identity;

/// Variables by which programs find a proxy, compared without regard to case: curl reads the
/// lower-case ones, others either.
///
/// The jail brings every connection to its own proxy, whatever the program thinks. A proxy of
/// the caller's network can only be reached through the rules, which would judge a request to
/// that proxy and not the request to the origin. So the command must not know about it.
const PROXY_VARIABLES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    // npm's own settings (npm-config(7)), which it prefers to the general ones.
    "npm_config_proxy",
    "npm_config_https_proxy",
    "npm_config_noproxy",
];

/// What sudo says about who called it. The command is that user; a program that finds these
/// would take itself for a privileged one.
const SUDO_VARIABLES: [&str; 4] = ["SUDO_COMMAND", "SUDO_GID", "SUDO_UID", "SUDO_USER"];

/// What glibc's resolver is told (resolv.conf(5)) when the caller tells it nothing. The stub
/// answers at once or not at all, and it knows every name as it is: names are not to be tried
/// below the host's search domains first.
const RESOLVER: (&str, &str) = ("RES_OPTIONS", "timeout:2 attempts:1 ndots:0");

/// What the caller wants of single variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// These stay, whatever is usually taken out.
    pub keep: Vec<OsString>,
    /// These are taken out. They win.
    pub unset: Vec<OsString>,
}

/// Builds the command's environment of the one inherited, the variables of the run, which win,
/// and those that name the user it runs as (sudo leaves them as they were or sets them to root,
/// by its configuration); `wishes` come last.
pub fn child_environment(
    inherited: impl IntoIterator<Item = (OsString, OsString)>,
    run: impl IntoIterator<Item = (OsString, OsString)>,
    identity: Option<&Identity>,
    wishes: &Wishes,
) -> Vec<(OsString, OsString)> {
    let mut inherited: BTreeMap<_, _> = inherited.into_iter().collect();
    inherited.entry(RESOLVER.0.into()).or_insert_with(|| RESOLVER.1.into());
    told_environment(inherited, run, identity, wishes)
}

/// The same for a command that asks the system's own resolver, and is told of the proxy by the
/// variables of the run.
pub fn told_environment(
    inherited: impl IntoIterator<Item = (OsString, OsString)>,
    run: impl IntoIterator<Item = (OsString, OsString)>,
    identity: Option<&Identity>,
    wishes: &Wishes,
) -> Vec<(OsString, OsString)> {
    let mut environment: BTreeMap<_, _> = inherited.into_iter().collect();
    let kept: Vec<_> = wishes
        .keep
        .iter()
        .filter_map(|name| environment.get(name).map(|value| (name.clone(), value.clone())))
        .collect();
    environment.retain(|name, _| {
        let kept = !is_proxy_variable(name) || wishes.keep.contains(name);
        if !kept {
            debug!(?name, "the command doesn't get this proxy setting");
        }
        kept
    });
    name_user(&mut environment, identity);
    environment.extend(run);
    environment.extend(kept);
    for name in &wishes.unset {
        environment.remove(name);
    }
    environment.into_iter().collect()
}

/// Builds the environment of a program of the user's that runs outside of the jail: the one inherited,
/// with the variables that name the user.
pub fn own_environment(
    inherited: impl IntoIterator<Item = (OsString, OsString)>,
    identity: Option<&Identity>,
) -> Vec<(OsString, OsString)> {
    let mut environment = inherited.into_iter().collect();
    name_user(&mut environment, identity);
    environment.into_iter().collect()
}

fn name_user(environment: &mut BTreeMap<OsString, OsString>, identity: Option<&Identity>) {
    let Some(identity) = identity else { return };
    for name in SUDO_VARIABLES {
        environment.remove(OsStr::new(name));
    }
    environment.insert("HOME".into(), identity.home().into());
    environment.insert("LOGNAME".into(), identity.name().into());
    environment.insert("SHELL".into(), identity.shell().into());
    environment.insert("USER".into(), identity.name().into());
}

fn is_proxy_variable(name: &OsStr) -> bool {
    PROXY_VARIABLES.iter().any(|variable| name.eq_ignore_ascii_case(variable))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn owned(pairs: Pairs<'_>) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn builds_the_environment() {
        let alice = Identity::fixture();
        let as_alice: Pairs<'_> = &[
            ("HOME", "/home/alice"),
            ("LOGNAME", "alice"),
            ("SHELL", "/bin/bash"),
            ("USER", "alice"),
        ];
        let table: [(&str, Pairs<'_>, Pairs<'_>, Option<&Identity>, Pairs<'_>); 6] = [
            ("nothing", &[], &[], None, &[]),
            (
                "inherited",
                &[("A", "1"), ("HOME", "/root")],
                &[],
                None,
                &[("A", "1"), ("HOME", "/root")],
            ),
            (
                "the run wins",
                &[("A", "1")],
                &[("A", "2"), ("B", "3")],
                None,
                &[("A", "2"), ("B", "3")],
            ),
            (
                "no proxies",
                &[
                    ("ALL_PROXY", "p"),
                    ("HTTPS_PROXY", "p"),
                    ("NO_PROXY", "p"),
                    ("http_proxy", "p"),
                    ("npm_config_proxy", "p"),
                    ("proxy", "kept"),
                ],
                &[],
                None,
                &[("proxy", "kept")],
            ),
            (
                "the user of the command",
                &[
                    ("HOME", "/root"),
                    ("SUDO_UID", "1000"),
                    ("SUDO_USER", "alice"),
                    ("USER", "root"),
                ],
                &[],
                Some(&alice),
                as_alice,
            ),
            (
                "root keeps what it had",
                &[("HOME", "/x"), ("SUDO_UID", "0")],
                &[],
                None,
                &[("HOME", "/x"), ("SUDO_UID", "0")],
            ),
        ];
        for (case, inherited, run, identity, expected) in table {
            let built =
                child_environment(owned(inherited), owned(run), identity, &Wishes::default());
            let expected = [owned(expected), owned(&[RESOLVER])].concat();
            let expected: BTreeMap<_, _> = expected.into_iter().collect();
            assert_eq!(built, Vec::from_iter(expected), "{case}");
        }
    }

    #[test]
    fn the_caller_s_resolver_options_stay() {
        let callers = owned(&[("RES_OPTIONS", "use-vc")]);
        assert_eq!(child_environment(callers.clone(), [], None, &Wishes::default()), callers);
    }

    #[test]
    fn wishes_win() {
        let inherited = owned(&[("A", "1"), ("B", "2"), ("HTTPS_PROXY", "p"), ("CA", "mine")]);
        let run = owned(&[("CA", "the run's"), ("TRUST", "x")]);
        let wishes = Wishes {
            keep: vec!["HTTPS_PROXY".into(), "CA".into(), "ABSENT".into(), "B".into()],
            unset: vec!["B".into(), "TRUST".into(), "RES_OPTIONS".into()],
        };
        let expected = owned(&[("A", "1"), ("CA", "mine"), ("HTTPS_PROXY", "p")]);
        assert_eq!(child_environment(inherited, run, None, &wishes), expected);
    }

    #[test]
    fn keeps_values_that_are_not_text() {
        use std::os::unix::ffi::OsStringExt;
        let odd = (OsString::from("ODD"), OsString::from_vec(vec![0xff, 0xfe]));
        assert!(child_environment([odd.clone()], [], None, &Wishes::default()).contains(&odd));
    }
}
