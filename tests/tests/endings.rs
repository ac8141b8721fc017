//! The end of a jail whose processes are where a kill doesn't look for them at first.

use std::fs;
use std::path::{Path, PathBuf};

use httpjail_tests::{Lab, Running, cgroup, programs};
use rustix::process::{Signal, kill_process};

/// Starts a jail with a sleeper in the background; it ends with its standard input.
fn start(lab: &Lab, options: &[&str]) -> (Running, PathBuf) {
    let invocation = options.iter().fold(lab.jail(), |jail, option| jail.option(option));
    let script = "sleep 1000 > /dev/null 2>&1 & 
        until grep -q sleep /proc/$!/comm; do :; done; echo ready; read line; exit 3";
    let jail = invocation.start(["sh", "-c", script]);
    jail.line("ready");
    (jail, lab.jails().pop().expect("a living jail has a cgroup"))
}

/// Moves all of the jail but its init into a cgroup below the jail's, as its caller may.
fn nest(jail: &Path) -> PathBuf {
    let nested = jail.join("outer/inner");
    fs::create_dir_all(&nested).expect("cgroups can be made");
    let processes = fs::read_to_string(jail.join("cgroup.procs")).expect("it is there");
    let moved: Vec<_> = processes.lines().filter(|pid| name_of(pid) != "httpjail-init").collect();
    assert_eq!(moved.len(), 2, "the shell and the sleeper: {processes}");
    for pid in moved {
        fs::write(nested.join("cgroup.procs"), pid).expect("it can be moved");
    }
    nested
}

fn name_of(pid: &str) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).expect("a living process");
    name.trim_end().to_owned()
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

/// Its supervisor and its proxy are killed, so that nobody ends it but the next start.
#[test]
fn sweeps_a_dead_jail_that_is_frozen() {
    let lab = Lab::new();
    let (jail, place) = start(&lab, &[]);
    nest(&place);
    cgroup::freeze(&place);
    let proxy = jail.proxy();
    // Stopped, it can't see the supervisor die and end the jail.
    kill_process(proxy, Signal::STOP).expect("a living process");
    jail.signal(Signal::KILL);
    kill_process(proxy, Signal::KILL).expect("a stopped process");
    lab.jail().run(["true"]).exits(0);
    assert_eq!(jail.finish().signal, Some(9));
    lab.assert_clean();
}

/// A freezer of version 1 keeps even SIGKILL waiting, as a hung file system does.
#[test]
fn tells_what_cannot_be_killed() {
    let lab = Lab::new();
    let (mut jail, place) = start(&lab, &[]);
    let processes = fs::read_to_string(place.join("cgroup.procs")).expect("it is there");
    let sleeper = processes.lines().find(|pid| name_of(pid) == "sleep").expect("it sleeps");
    let frozen = format!("freezer/lab-{sleeper}");
    let freeze = format!(
        "mkdir freezer && mount -t cgroup -o freezer lab freezer && mkdir {frozen}
         echo {sleeper} > {frozen}/cgroup.procs && echo FROZEN > {frozen}/freezer.state
         until grep -q FROZEN {frozen}/freezer.state; do :; done"
    );
    lab.outside().sh(&freeze).exits(0);
    jail.write("end\n");
    let jailed = jail.finish().exits(125);
    assert!(jailed.stderr.contains(sleeper), "it is named: {jailed:?}");
    assert!(place.exists(), "the next sweep finds it");
    let thaw = format!(
        "echo THAWED > {frozen}/freezer.state; until rmdir {frozen}; do :; done; umount freezer"
    );
    lab.outside().sh(&thaw).exits(0);
    lab.outside().run([programs::httpjail().as_os_str(), "cleanup".as_ref()]).exits(0);
    lab.assert_clean();
}
