//! Ways by other processes: what is inherited from them, what is done to them, what outlives the
//! command.

use httpjail_tests::{Lab, Running, USER_NAME, programs};

use crate::trial::{Who, assert_refused};

#[test]
fn a01_inherited_sockets() {
    let lab = Lab::new();
    let [server, _] = lab.banner_server();
    let sockets = |descriptors: &serde_json::Value| {
        let seen = descriptors["seen"].as_object().expect("a map").clone();
        seen.into_iter().filter(|(_, target)| target.to_string().contains("socket:")).count()
    };
    let outside = Who::User.outside(&lab).holding(server).probe(["descriptors"]).exits(0);
    assert_eq!(sockets(&outside.report()), 1, "without a jail it is inherited: {outside:?}");
    for who in Who::BOTH {
        let jailed = who.jail(&lab).holding(server).probe(["descriptors"]).exits(0);
        assert_eq!(sockets(&jailed.report()), 0, "{who:?}: {jailed:?}");
    }
    lab.assert_clean();
}

/// It is only opened: nothing is written, should the jail fail.
#[test]
fn a04_memory_of_a_process_outside() {
    let lab = Lab::new();
    let bystander = Who::User.outside(&lab).start_probe(["hang"]);
    bystander.line("hanging");
    let memory = format!("/proc/{}/mem", bystander.pid());
    assert_refused(&lab, Who::User, &[libc::ENOENT], &[&["open", &memory]]);
    drop(bystander);
    lab.assert_clean();
}

/// An interactive shell on a terminal of its own, ready for input.
fn shell(lab: &Lab) -> Running {
    let script = programs::require("script");
    let line = ["-qefc", "exec bash --norc -i", "/dev/null"];
    let mut shell =
        lab.outside().start([script.as_os_str()].into_iter().chain(line.map(AsRef::as_ref)));
    // What is typed is shown, too: the marks are written so that only their output matches.
    shell.write("PS1=; echo shell-is-'ready'\n");
    shell.line("shell-is-ready");
    shell
}

#[test]
fn a07_typing_into_the_terminal() {
    let lab = Lab::new();
    let (probe, httpjail) = (lab.probe(), programs::httpjail());
    let act = format!("{} type 'echo typed-by-the-$((40+2))'", probe.display());
    let jail = |user: &str| format!("{} --js true --user {user} -- {act}", httpjail.display());
    for (way, wanted) in [(act.clone(), true), (jail(USER_NAME), false), (jail("root"), false)] {
        let mut shell = shell(&lab);
        shell.write(&format!("{way}; echo probe-'ended'\n"));
        shell.line("probe-ended");
        shell.write("exit 0\n");
        let seen = shell.finish().exits(0).stdout;
        assert_eq!(seen.contains("typed-by-the-42"), wanted, "{way}: {seen}");
        assert_eq!(seen.contains("\"errno\":1"), !wanted, "{way}: {seen}");
    }
    lab.assert_clean();
}

#[test]
fn a20_leftover_daemon() {
    let lab = Lab::new();
    let script = "(setsid sh -c 'echo $$ > daemon; exec sleep 1000' < /dev/null > /dev/null 2>&1 &)
        until [ -s daemon ]; do :; done; rm daemon";
    for who in Who::BOTH {
        who.jail(&lab).sh(script).exits(0);
        lab.assert_clean();
    }
    Who::User.outside(&lab).sh(script).exits(0);
    assert!(lab.cgroup().is_populated(), "without a jail it lives on");
}

/// Whoever may read the file could read the traffic: what the caller's own programs write there is
/// theirs, and the proxy writes nothing.
#[test]
fn e03_tls_keys_by_the_environment() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let keys = lab.home().join("keys");
    let curl = ["curl", "-sS", "-o", "/dev/null", "https://a.test/"];
    lab.outside().env("SSLKEYLOGFILE", &keys).run(curl).exits(0);
    assert!(keys.exists(), "without a jail a program writes its keys");
    std::fs::remove_file(&keys).expect("it is there");
    let target = format!("{}:443", a.v4());
    for who in Who::BOTH {
        let jail = who.jail(&lab).env("SSLKEYLOGFILE", &keys);
        // The probe itself knows nothing of the variable.
        let jailed = jail.probe(["hello", &target, "--name", "a.test"]).exits(0).report();
        assert_eq!(jailed["seen"]["status"], 200, "{jailed}");
        assert!(!keys.exists(), "the proxy wrote its keys");
    }
    lab.assert_clean();
}
