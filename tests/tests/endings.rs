//! The end of a jail whose processes are where a kill doesn't look for them at first.

use std::fs;
use std::path::{Path, PathBuf};

use httpjail_tests::{Lab, Running, cgroup};

/// Starts a jail with a sleeper in the background; it ends with its standard input.
fn start(lab: &Lab, options: &[&str]) -> (Running, PathBuf) {
    let invocation = options.iter().fold(lab.jail(), |jail, option| jail.option(option));
    let script = "sleep 1000 > /dev/null 2>&1 & echo ready; read line; exit 3";
    let jail = invocation.start(["sh", "-c", script]);
    jail.line("ready");
    (jail, lab.jails().pop().expect("a living jail has a cgroup"))
}

/// Moves all of the jail but its init into a cgroup below the jail's, as its caller may.
fn nest(jail: &Path) -> PathBuf {
    let nested = jail.join("outer/inner");
    fs::create_dir_all(&nested).expect("cgroups can be made");
    let processes = fs::read_to_string(jail.join("cgroup.procs")).expect("it is there");
    let is_init = |pid: &str| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "httpjail-init\n")
    };
    let moved: Vec<_> = processes.lines().filter(|pid| !is_init(pid)).collect();
    assert_eq!(moved.len(), 2, "the shell and the sleeper: {processes}");
    for pid in moved {
        fs::write(nested.join("cgroup.procs"), pid).expect("it can be moved");
    }
    nested
}

#[test]
fn ends_what_is_in_nested_cgroups() {
    let lab = Lab::new();
    let (mut jail, place) = start(&lab, &[]);
    let nested = nest(&place);
    // Not of the jail's own namespace, so that the end of its init doesn't end it.
    let stranger = lab.outside().in_cgroup(&nested).start(["sh", "-c", "echo in; sleep 1000"]);
    stranger.line("in");
    jail.write("end\n");
    jail.finish().exits(3);
    assert_eq!(stranger.finish().signal, Some(9));
    assert!(!place.exists(), "its cgroups are gone");
    lab.assert_clean();
}

#[test]
fn ends_a_frozen_jail_at_the_timeout() {
    let lab = Lab::new();
    let (mut jail, place) = start(&lab, &["--timeout", "3"]);
    nest(&place);
    cgroup::freeze(&place);
    jail.write("end\n");
    jail.finish().exits(124);
    assert!(!place.exists(), "its cgroups are gone");
    lab.assert_clean();
}
