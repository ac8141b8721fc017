//! The jail's processes: what they see of others, and what they outlive.

use httpjail_tests::{Lab, Running};

/// A process outside that belongs to the user whom the jailed command runs as.
fn bystander(lab: &Lab) -> Running {
    let bystander = lab.outside().as_user().start_probe(["hang"]);
    bystander.line("hanging");
    bystander
}

#[test]
fn shows_the_jails_processes_alone() {
    let lab = Lab::new();
    let outside = bystander(&lab);
    let count = format!("ps -A -o pid= | grep -cx ' *{}'", outside.pid());
    let twin = lab.outside().as_user().sh(&count).exits(0);
    assert_eq!(twin.stdout, "1\n", "without a jail it shows");
    for jail in [lab.jail(), lab.jail().as_user()] {
        let seen = jail.sh("ps -A -o comm=").exits(0);
        assert_eq!(seen.stdout, "httpjail-init\nsh\nps\n");
    }
    drop(outside);
    lab.assert_clean();
}

#[test]
fn cannot_signal_a_process_outside() {
    let lab = Lab::new();
    let outside = bystander(&lab);
    let kill = format!("kill -TERM {}", outside.pid());
    for jail in [lab.jail(), lab.jail().as_user()] {
        let refused = jail.sh(&kill);
        assert_ne!(refused.code, Some(0), "{refused:?}");
    }
    lab.outside().as_user().sh(&kill).exits(0);
    assert_eq!(outside.finish().signal, Some(15), "without a jail it is ended");
    lab.assert_clean();
}

#[test]
fn ends_daemons_with_the_command() {
    let lab = Lab::new();
    let script = "(setsid sh -c 'echo $$ > daemon; exec sleep 1000' < /dev/null > /dev/null 2>&1 &)
        until [ -s daemon ]; do :; done; rm daemon";
    lab.jail().sh(script).exits(0);
    lab.assert_clean();
    lab.outside().sh(script).exits(0);
    assert!(lab.cgroup().is_populated(), "without a jail it lives on");
}
