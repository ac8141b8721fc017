//! The jailed command: who it is, what it inherits, how its end is told.

use std::{fs, os::unix::fs::PermissionsExt};

use httpjail_tests::{DOCKER_GID, FRIENDS_GID, Invocation, Lab, USER_GID, USER_NAME, USER_UID};
use rustix::process::Signal;
use serde_json::json;

/// Signals 1 to 31, without those that the C library and real-time programs use.
const STANDARD_SIGNALS: u64 = 0x7fff_ffff;

#[test]
fn passes_exit_codes_through() {
    let lab = Lab::new();
    for code in [0, 1, 2, 42, 125, 255] {
        assert_eq!(lab.jail().sh(&format!("exit {code}")).code, Some(code));
    }
    lab.assert_clean();
}

#[test]
fn tells_the_signal_that_ended_the_command() {
    let lab = Lab::new();
    for (signal, code) in [("TERM", 143), ("KILL", 137), ("SEGV", 139)] {
        lab.jail().sh(&format!("kill -{signal} $$")).exits(code);
    }
    lab.assert_clean();
}

#[test]
fn tells_a_missing_command_from_one_that_cannot_be_run() {
    let lab = Lab::new();
    let missing = lab.jail().run(["no-such-command"]).exits(127);
    assert!(missing.stderr.contains("no-such-command"), "{missing:?}");
    lab.jail().run(["/no/such/command"]).exits(127);
    lab.jail().run(["/etc/passwd"]).exits(126);
    lab.jail().run(["/"]).exits(126);
    lab.assert_clean();
}

#[test]
fn passes_arguments_and_streams_untouched() {
    let lab = Lab::new();
    let mut jailed =
        lab.jail().start(["sh", "-c", "cat; echo \"$@\" >&2", "sh", "-x", "--", "a b"]);
    jailed.write("through\n");
    jailed.close_stdin();
    let jailed = jailed.finish().exits(0);
    assert_eq!(jailed.stdout, "through\n");
    assert_eq!(jailed.stderr, "-x -- a b\n");
    lab.assert_clean();
}

#[test]
fn runs_as_the_user_behind_sudo() {
    let lab = Lab::new();
    let report = lab.jail().as_user().probe(["identity"]).exits(0).report();
    let seen = &report["seen"];
    let (uid, gid) = (USER_UID.to_string(), USER_GID.to_string());
    assert_eq!(seen["uid"], json!([uid, uid, uid, uid]), "{seen}");
    assert_eq!(seen["gid"], json!([gid, gid, gid, gid]), "{seen}");
    let outside = lab.outside().sh(&format!("id -G {USER_NAME}")).exits(0).stdout;
    assert_eq!(outside.trim(), format!("{gid} {DOCKER_GID} {FRIENDS_GID}"), "without a jail");
    assert_eq!(seen["groups"], json!([gid, FRIENDS_GID.to_string()]), "root's are gone: {seen}");
    assert_eq!(seen["capabilities"], json!(["0000000000000000"]));
    let environment = &seen["environment"];
    assert_eq!(environment["HOME"], lab.home().to_str().expect("UTF-8"));
    assert_eq!(
        (&environment["USER"], &environment["LOGNAME"]),
        (&json!(USER_NAME), &json!(USER_NAME))
    );
    lab.assert_clean();
}

#[test]
fn works_through_sudo() {
    let lab = Lab::new();
    lab.origin("a.test");
    let httpjail = httpjail_tests::programs::httpjail();
    let script = format!(
        "sudo -n {} --js true --upstream-ca {} -- sh -c 'id -un; curl -sS https://a.test/'",
        httpjail.display(),
        lab.ca_file().display()
    );
    let jailed = lab.outside().as_user().sh(&script).exits(0);
    assert_eq!(jailed.stdout, format!("{USER_NAME}\nhello from a.test\n"), "{jailed:?}");
    lab.assert_clean();
}

#[test]
fn stays_root_when_root_started_it() {
    let lab = Lab::new();
    let report = lab.jail().probe(["identity"]).exits(0).report();
    assert_eq!(report["seen"]["uid"][0], "0");
    lab.assert_clean();
}

#[test]
fn gives_no_new_privileges() {
    let lab = Lab::new();
    let report = lab.jail().as_user().probe(["identity"]).exits(0).report();
    assert_eq!(report["seen"]["no_new_privileges"], json!(["1"]));
    let sudo = lab.jail().as_user().sh("sudo -n true");
    assert_ne!(sudo.code, Some(0), "{sudo:?}");
    lab.assert_clean();
}

/// A copy of the probe in the lab's home, owned by root and with its set-user-id bit.
fn set_user_id_probe(lab: &Lab) -> String {
    let path = lab.home().join("root-probe");
    fs::copy(lab.probe(), &path).expect("the home is there");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).expect("it is our own");
    path.into_os_string().into_string().expect("UTF-8")
}

#[test]
fn a_set_user_id_program_gains_privileges_when_allowed() {
    let lab = Lab::new();
    let probe = set_user_id_probe(&lab);
    let user = USER_UID.to_string();
    let jail = || lab.jail().as_user();
    for (place, effective, none) in [
        (lab.outside().as_user(), "0", "0"),
        (jail().option("--allow-new-privileges"), "0", "0"),
        (jail(), &*user, "1"),
    ] {
        let report = place.run([&probe, "identity"]).exits(0).report();
        assert_eq!(report["seen"]["uid"][1], effective, "{report}");
        assert_eq!(report["seen"]["no_new_privileges"], json!([none]), "{report}");
    }
    let jailed = jail().option("--allow-new-privileges").run(["true"]).exits(0);
    let warnings: Vec<_> = jailed.stderr.lines().collect();
    let opens = "WARN --allow-new-privileges opens: ";
    assert!(matches!(warnings[..], [one] if one.contains(opens)), "{jailed:?}");
    lab.assert_clean();
}

#[test]
fn privileges_that_are_gained_do_not_open_the_jail() {
    let lab = Lab::new();
    let probe = set_user_id_probe(&lab);
    let cgroup = lab.cgroup().path().to_str().expect("UTF-8").to_owned();
    let jail = || lab.jail().as_user().option("--allow-new-privileges");
    let enter = [&*probe, "run-in", &cgroup, "--", "true"];
    lab.outside().as_user().run(enter).exits(0);
    let entered = jail().run(enter).exits(125);
    assert!(entered.stderr.contains("Read-only"), "{entered:?}");
    for act in ["raw", "packet"] {
        let interface = if act == "packet" { "lo" } else { "127.0.0.1:1" };
        let sent = |place: Invocation<'_>| place.run([&*probe, act, interface]).exits(0).report();
        let twin = sent(lab.outside().as_user());
        assert_eq!(twin["seen"]["sent"], true, "without a jail: {twin}");
        let jailed = sent(jail());
        assert_eq!(jailed["step"], "socket", "{act}: {jailed}");
    }
    let bits = |place: Invocation<'_>| {
        let report = place.run([&*probe, "identity"]).exits(0).report();
        let text = report["seen"]["capabilities"][0].as_str().unwrap_or_default().to_owned();
        u64::from_str_radix(&text, 16).expect("hexadecimal")
    };
    let openers = 1 << 12 | 1 << 13 | 1 << 21 | 1 << 39; // CAP_NET_ADMIN, _NET_RAW, _SYS_ADMIN, _BPF
    assert_eq!(bits(lab.outside().as_user()) & openers, openers, "without a jail");
    assert_eq!(bits(jail()) & openers, 0);
    let sudo = jail().sh("sudo -n id -u").exits(0);
    assert_eq!(sudo.stdout, "0\n", "{sudo:?}");
    lab.assert_clean();
}

#[test]
fn starts_the_command_with_ordinary_signals() {
    let lab = Lab::new();
    // By a program that leaves signals as they come: the probe's own runtime ignores SIGPIPE.
    let masks = lab.jail().run(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]).exits(0);
    for line in masks.stdout.lines() {
        let mask = line.split_whitespace().next_back().expect("a mask");
        let mask = u64::from_str_radix(mask, 16).expect("a mask in hexadecimal");
        assert_eq!(mask & STANDARD_SIGNALS, 0, "{line}");
    }
    lab.assert_clean();
}

#[test]
fn is_born_in_a_cgroup_below_the_callers() {
    let lab = Lab::new();
    let report = lab.jail().probe(["identity"]).exits(0).report();
    let cgroup = report["seen"]["cgroup"].as_str().expect("a name").to_owned();
    let below = format!("{}/httpjail-", lab.cgroup().name());
    assert!(cgroup.starts_with(&below), "{cgroup} is not below {below}");
    lab.assert_clean();
}

#[test]
fn closes_inherited_sockets() {
    let lab = Lab::new();
    let [server, _] = lab.banner_server();
    let sockets = |descriptors: &serde_json::Value| {
        let seen = descriptors["seen"].as_object().expect("a map").clone();
        seen.into_iter().filter(|(_, target)| target.to_string().contains("socket:")).count()
    };
    let outside = lab.outside().holding(server).probe(["descriptors"]).exits(0).report();
    assert_eq!(sockets(&outside), 1, "without a jail it is inherited: {outside}");
    let jailed = lab.jail().holding(server).probe(["descriptors"]).exits(0).report();
    assert_eq!(sockets(&jailed), 0, "{jailed}");
    let open = jailed["seen"].as_object().expect("a map");
    assert_eq!(open.keys().collect::<Vec<_>>(), ["0", "1", "2"], "{jailed}");
    lab.assert_clean();
}

#[test]
fn points_programs_to_a_readable_bundle() {
    let lab = Lab::new();
    let report = lab.jail().as_user().probe(["identity"]).exits(0).report();
    let environment = &report["seen"]["environment"];
    for name in [
        "SSL_CERT_FILE",
        "CURL_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "REQUESTS_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
        "DENO_CERT",
        "CARGO_HTTP_CAINFO",
        "AWS_CA_BUNDLE",
    ] {
        assert!(environment[name].is_string(), "{name} is missing");
    }
    let count = "grep -c BEGIN.CERTIFICATE \"$SSL_CERT_FILE\"";
    let certificates = lab.jail().as_user().sh(count).exits(0).stdout;
    let certificates: u32 = certificates.trim().parse().expect("a number");
    assert!(certificates > 50, "the system's roots and the run's: {certificates}");
    lab.assert_clean();
}

#[test]
fn keeps_the_authoritys_key_to_itself() {
    let lab = Lab::new();
    // Other jails' folders come and go meanwhile; what matters is this run's own.
    let script = "cd \"$(dirname \"$SSL_CERT_FILE\")\" && grep -rlc CERTIFICATE . | wc -l &&
        grep -rl 'PRIVATE KEY' .";
    let jailed = lab.jail().sh(script).exits(1);
    let files: u32 = jailed.stdout.trim().parse().expect("a count and no name after it");
    assert!(files > 0, "the run's folder was looked into: {jailed:?}");
    lab.assert_clean();
}

#[test]
fn hands_signals_on_to_the_command() {
    for (signal, name) in [(Signal::INT, "INT"), (Signal::TERM, "TERM"), (Signal::HUP, "HUP")] {
        let lab = Lab::new();
        let script = format!(
            "sleep 1000 & trap 'kill $!; echo got {name}; exit 7' {name}; echo ready; wait"
        );
        let jailed = lab.jail().start(["sh", "-c", &script]);
        jailed.line("ready");
        jailed.signal(signal);
        let jailed = jailed.finish().exits(7);
        assert!(jailed.stdout.contains(&format!("got {name}")), "{jailed:?}");
        lab.assert_clean();
    }
}

#[test]
fn ends_the_whole_jail_at_the_timeout() {
    let lab = Lab::new();
    let script = "(trap '' TERM; setsid sleep 1000) & echo started; exec sleep 1000";
    let jailed = lab.jail().option("--timeout").option("1").start(["sh", "-c", script]);
    jailed.line("started");
    jailed.finish().exits(124);
    lab.assert_clean();
}

#[test]
fn ends_what_the_command_left_behind() {
    let lab = Lab::new();
    let script = "setsid sh -c 'sleep 1000' < /dev/null > /dev/null 2>&1 & echo done";
    let jailed = lab.jail().sh(script).exits(0);
    assert_eq!(jailed.stdout, "done\n");
    lab.assert_clean();
}

#[test]
fn says_what_is_missing_without_root() {
    let lab = Lab::new();
    let setpriv = ["setpriv", "--reuid=65534", "--clear-groups", "--"];
    let httpjail = httpjail_tests::programs::httpjail();
    let line = setpriv.iter().map(Into::into).chain([httpjail.into_os_string()]);
    let refused = lab.outside().run(line.chain(["--", "true"].map(Into::into))).exits(125);
    assert!(refused.stderr.contains("sudo"), "{refused:?}");
    lab.assert_clean();
}

#[test]
fn runs_as_the_user_that_was_named() {
    let lab = Lab::new();
    for user in [USER_NAME.to_owned(), USER_UID.to_string()] {
        let jail = lab.jail().option("--user").option(&user);
        let jailed = jail.sh("id -u; id -g; echo $HOME $USER").exits(0);
        let expected = format!("{USER_UID}\n{USER_GID}\n{} {USER_NAME}\n", lab.home().display());
        assert_eq!(jailed.stdout, expected, "{user}");
    }
    let nobody = lab.jail().option("--user").option("no-such-user").sh("true").exits(125);
    assert!(nobody.stderr.contains("no-such-user"), "{nobody:?}");
    let root = lab.jail().option("--user").option("root").sh("id -u").exits(0);
    assert_eq!(root.stdout, "0\n");
    assert!(root.stderr.contains("--user opens"), "{root:?}");
    lab.assert_clean();
}

#[test]
fn leaves_and_takes_variables_as_told() {
    const SHOW: &str = "echo ${HTTPS_PROXY-none} ${SECRET-none} ${CURL_CA_BUNDLE-none}";
    let lab = Lab::new();
    let jail = || lab.jail().env("HTTPS_PROXY", "p").env("SECRET", "s").env("CURL_CA_BUNDLE", "b");
    let usual = jail().sh(SHOW).exits(0);
    assert!(usual.stdout.starts_with("none s /run/httpjail/"), "{usual:?}");
    let told = jail()
        .option("--keep-env=HTTPS_PROXY")
        .option("--keep-env=CURL_CA_BUNDLE")
        .option("--unset-env=SECRET");
    assert_eq!(told.sh(SHOW).exits(0).stdout, "p none b\n");
    lab.assert_clean();
}
