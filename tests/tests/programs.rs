//! Rules that are programs (`--sh`, `--proc`): they decide with the rights of the user who called, and
//! outside of the jail.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use httpjail_tests::{Invocation, Lab, Running};
use rustix::process::{Pid, Signal, kill_process};

const CODES: &str = "ask() { curl -sS -o /dev/null -w '%{http_code} ' http://a.test$1; }; ";
/// The lab's plain user.
const USER_UID: u32 = 12_345;

/// A script of root's, which nobody else may write to.
fn script(lab: &Lab, name: &str, text: &str) -> PathBuf {
    let path = lab.home().join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("the lab's home is writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is our own");
    path
}

fn by_script<'lab>(lab: &'lab Lab, script: &str) -> Invocation<'lab> {
    lab.jail().as_user().option("--sh").option(script)
}

fn by_lines<'lab>(lab: &'lab Lab, script: &str) -> Invocation<'lab> {
    let command = format!("/bin/sh -c '{script}'");
    lab.jail().as_user().option("--proc").option(command)
}

/// What the rule's program said when it denied.
fn said(jail: &Invocation<'_>) -> Vec<String> {
    let jailed = jail.run(["curl", "-sS", "http://a.test/"]).exits(0);
    let mut lines = jailed.stdout.lines().map(str::to_owned);
    assert_eq!(lines.next().as_deref(), Some("Request blocked by httpjail"), "{jailed:?}");
    lines.collect()
}

#[test]
fn a_script_decides_about_each_request() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let file = script(&lab, "rule", "[ $HTTPJAIL_METHOD = GET ] && [ $HTTPJAIL_PATH = /ok ]");
    let file = file.to_str().expect("a path in UTF-8");
    let ask = format!("{CODES} ask /ok; ask /no; ask '/ok -X POST'");
    assert_eq!(lab.outside().sh(&ask).exits(0).stdout.matches("200").count(), 3);
    let before = a.seen().len();
    for rule in [file, "test $HTTPJAIL_METHOD$HTTPJAIL_PATH = GET/ok"] {
        let jailed = by_script(&lab, rule).sh(&format!("{CODES} ask /ok; ask /no")).exits(0);
        assert_eq!(jailed.stdout, "200 403 ", "{jailed:?}");
        assert_eq!(jailed.log, ["+ GET http://a.test/ok", "- GET http://a.test/no"]);
    }
    assert_eq!(a.seen().len(), before + 2);
    lab.assert_clean();
}

#[test]
fn a_program_decides_line_by_line_for_http2_too() {
    let lab = Lab::new();
    lab.origin("a.test");
    let rule =
        "while read -r line; do case $line in *\"/ok\"*) echo true;; *) echo not that;; esac; done";
    let script = format!(
        "{CODES} ask /ok; ask /no; ask /ok
         curl -sS --http2 -o /dev/null -w '%{{http_code}} ' https://a.test/ok
         curl -sS --http2 https://a.test/no"
    );
    let jailed = by_lines(&lab, rule).sh(&script).exits(0);
    let told = "200 403 200 200 Request blocked by httpjail\nnot that";
    assert_eq!(jailed.stdout.trim_end(), told, "{jailed:?}");
    assert_eq!(jailed.log.len(), 5);
    lab.assert_clean();
}

#[test]
fn a_program_is_the_users_and_has_no_privileges() {
    let lab = Lab::new();
    let status = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
    let rule = format!(
        "id -u; id -g; echo $HOME; ls /proc/self/fd | wc -l; cat /proc/$PPID/comm; {status}; exit 1"
    );
    let lines = said(&by_script(&lab, &rule));
    let [uid, _gid, _home, descriptors, parent, rest @ ..] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert_eq!((uid.as_str(), parent.as_str()), ("12345", "httpjail-rules"));
    // Three, and the folder itself.
    assert_eq!(descriptors.trim(), "4");
    for line in rest {
        let (field, value) = line.split_once(':').expect("a field");
        let none = match field {
            "NoNewPrivs" => "1",
            "Seccomp" => "0",
            _ => "0000000000000000",
        };
        assert_eq!(value.trim(), none, "{field}");
    }
    assert_eq!(rest.len(), 7, "{rest:?}");
    lab.assert_clean();
}

/// What the command can't do, the program can: it is no part of the jail.
#[test]
fn a_program_is_outside_of_the_jail() {
    let lab = Lab::new();
    lab.origin("a.test");
    let list = lab.origin("list.test");
    let place = "readlink /proc/self/ns/pid /proc/self/ns/mnt";
    let outside = lab.outside().sh(place).exits(0).stdout;
    let jailed = lab.jail().as_user().js("false").sh(place).exits(0).stdout;
    assert!(outside.lines().zip(jailed.lines()).all(|(outside, jailed)| outside != jailed));
    let rule = format!("{place}; grep -c /jail- /proc/self/cgroup; exit 1");
    let mut expected: Vec<_> = outside.lines().collect();
    expected.push("0");
    assert_eq!(said(&by_script(&lab, &rule)), expected);

    // Only the program's own request gets to the list.
    let rule = "curl -sS -o /dev/null http://list.test/program && test $HTTPJAIL_HOST = a.test";
    let ask = format!(
        "{CODES} ask /; curl -sS -o /dev/null -w '%{{http_code}}' http://list.test/command"
    );
    let jailed = by_script(&lab, rule).sh(&ask).exits(0);
    assert_eq!(jailed.stdout, "200 403", "{jailed:?}");
    let targets: Vec<_> = list.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/program", "/program"]);
    lab.assert_clean();
}

#[test]
fn requests_are_data_to_a_script() {
    let lab = Lab::new();
    let folder = lab.home().join("touched");
    fs::create_dir(&folder).expect("the lab's home is writable");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("it is our own");
    let file = folder.join("x");
    let (rule, lines) = (
        "echo $HTTPJAIL_URL \"$HTTPJAIL_QUERY\" $HTTPJAIL_METHOD > /dev/null; exit 1",
        "while read -r line; do echo \"no $line\"; done",
    );
    // Each with a script that makes code of it.
    let acts = [
        ("/$(touch${IFS}FILE)", "eval echo $HTTPJAIL_PATH; exit 1"),
        ("/?`touch${IFS}FILE`", "eval echo $HTTPJAIL_QUERY; exit 1"),
        ("/;touch${IFS}FILE;", "eval echo $HTTPJAIL_PATH; exit 1"),
        ("/?';touch${IFS}FILE;'", "eval \"echo '$HTTPJAIL_QUERY'\"; exit 1"),
    ];
    let ask = |act: &str| {
        let act = act.replace("FILE", file.to_str().expect("a path in UTF-8"));
        [
            "curl",
            "-sS",
            "-g",
            "--path-as-is",
            "-H",
            &format!("X: {act}"),
            &format!("http://a.test{act}"),
        ]
        .map(str::to_owned)
    };
    for (act, careless) in acts {
        let careless = by_script(&lab, careless).run(ask(act)).exits(0);
        fs::remove_file(&file).unwrap_or_else(|error| panic!("{act}: {error}: {careless:?}"));
        for jail in [by_script(&lab, rule), by_lines(&lab, lines)] {
            let jailed = jail.run(ask(act)).exits(0);
            assert!(jailed.stdout.starts_with("Request blocked"), "{act}: {jailed:?}");
            assert!(!file.exists(), "{act}");
        }
    }
    lab.assert_clean();
}

#[test]
fn a_script_that_hangs_holds_up_no_other_request() {
    let lab = Lab::new();
    lab.origin("a.test");
    let script = "curl -s -o /dev/null http://a.test/hang & held=$!
        for n in 1 2 3; do curl -sS -o /dev/null -w '%{http_code} ' http://a.test/ok; done
        kill $held; wait";
    let rule = "test $HTTPJAIL_PATH = /ok || sleep 1000";
    let jailed = by_script(&lab, rule).option("--workers").option("1").sh(script).exits(0);
    assert_eq!(jailed.stdout, "200 200 200 ", "{jailed:?}");
    let mut log = jailed.log;
    log.sort();
    let mut expected = ["+ GET http://a.test/ok"; 4];
    expected[3] = "- GET http://a.test/hang";
    assert_eq!(log, expected, "each has its record");
    lab.assert_clean();
}

/// Also what has left its process group, and whatever ends the run.
#[test]
fn what_programs_start_ends_with_the_run() {
    let lab = Lab::new();
    lab.origin("a.test");
    let daemon = "setsid sleep 1000 > /dev/null 2>&1 < /dev/null & exit 0";
    for jail in [
        by_script(&lab, daemon),
        by_lines(&lab, "setsid sleep 1000 & while read -r line; do echo true; done"),
    ] {
        let jailed = jail.sh(&format!("{CODES} ask /")).exits(0);
        assert_eq!(jailed.stdout, "200 ", "{jailed:?}");
        lab.assert_clean();
    }
    let mut jail = by_script(&lab, daemon).start([
        "sh",
        "-c",
        &format!("{CODES} ask /; echo ready; read end"),
    ]);
    jail.line("200 ready");
    jail.signal(Signal::KILL);
    let supervisor = jail.pid();
    jail.close_stdin();
    jail.finish();
    assert!(!Path::new(&format!("/proc/{supervisor}")).exists());
    // The dead supervisor's run is swept by the next.
    lab.jail().js("false").sh("true").exits(0);
    lab.assert_clean();
}

#[test]
fn what_a_dead_run_s_rule_started_is_swept_though_the_run_s_folder_is_gone() {
    let lab = Lab::new();
    lab.origin("a.test");
    let script = format!("{CODES} ask /; echo ready; read end");
    let mut jail = by_script(&lab, "exit 0").start(["sh", "-c", &script]);
    jail.line("200 ready");
    let jails = lab.jails();
    let mut names = jails.iter().filter_map(|path| path.file_name()?.to_str());
    let id = names.find_map(|name| name.strip_prefix("httpjail-rules-"));
    let folder = Path::new("/run/httpjail").join(id.expect("the rule has a cgroup"));
    jail.signal(Signal::KILL);
    jail.close_stdin();
    jail.finish();
    // As a build does that knows nothing of rules that are programs. Others may have swept it.
    if let Err(error) = fs::remove_dir_all(folder) {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    lab.jail().js("false").sh("true").exits(0);
    lab.assert_clean();
}

/// The process that runs the programs of a jail.
fn role(jail: &Running) -> Pid {
    let children = format!("/proc/{0}/task/{0}/children", jail.pid());
    let children = fs::read_to_string(children).expect("the supervisor lives");
    let is_role = |pid: &&str| {
        let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
        comm.is_ok_and(|comm| comm == "httpjail-rules\n")
    };
    let pid = children.split_whitespace().find(is_role).expect("it has such a process");
    pid.parse().ok().and_then(Pid::from_raw).expect("a number")
}

#[test]
fn nothing_is_let_out_and_the_jail_ends_when_nobody_asks_the_program() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let ask = format!("{CODES} ask /; echo ready; read go; ask /; exec sleep 1000");
    for jail in
        [by_script(&lab, "exit 0"), by_lines(&lab, "while read -r line; do echo true; done")]
    {
        let before = a.seen().len();
        let mut jail = jail.start(["sh", "-c", &ask]);
        jail.line("200 ready");
        let role = role(&jail);
        // Stopped, it answers nothing; killed, it takes the jail with it.
        kill_process(role, Signal::STOP).expect("a living process");
        jail.write("go\n");
        kill_process(role, Signal::KILL).expect("a living process");
        let jailed = jail.finish().exits(125);
        assert!(jailed.stderr.contains("without the process that asks the rule"), "{jailed:?}");
        assert_eq!(a.seen().len(), before + 1);
        lab.assert_clean();
    }
}

#[test]
fn a_program_that_can_t_be_run_is_an_error_before_anything_is() {
    let lab = Lab::new();
    let unreadable = script(&lab, "unreadable", "exit 0");
    fs::set_permissions(&unreadable, fs::Permissions::from_mode(0o700)).expect("it is our own");
    let unreadable = unreadable.to_str().expect("a path in UTF-8");
    for (option, program, told) in [
        ("--sh", "/nowhere", "failed to run /nowhere (--sh): No such file"),
        ("--proc", "nowhere -x", "failed to run nowhere (--proc): No such file"),
        ("--sh", unreadable, "Permission denied"),
        ("--proc", unreadable, "Permission denied"),
        ("--proc", "a 'b", "a quote isn't closed"),
        ("--sh", "", "it names no program"),
    ] {
        let jail = lab.jail().as_user().option(option).option(program);
        let jailed = jail.sh("echo ran").exits(2);
        assert_eq!(jailed.stdout, "", "{program}");
        assert!(jailed.stderr.contains(told), "{jailed:?}");
        lab.assert_clean();
    }
}

#[test]
fn a_program_that_the_command_could_change_is_told_of() {
    let lab = Lab::new();
    // Not in the lab's home, which anybody may write to.
    let file = script(&lab, "../rule", "exit 1").canonicalize().expect("it was just made");
    let file = file.to_str().expect("a path in UTF-8");
    for unchangeable in [file, "exit 1"] {
        let jailed = by_script(&lab, unchangeable).sh("true").exits(0);
        assert!(!jailed.stderr.contains("may write"), "{jailed:?}");
    }
    chown(file, Some(USER_UID), None).expect("root may");
    let jailed = by_script(&lab, file).sh("true").exits(0);
    let warning = format!("--sh: the command may write to {file}, and so decide by itself");
    assert!(jailed.stderr.contains(&warning), "{jailed:?}");
    let strict = lab.jail().as_user().option("--strict").option("--proc").option(file);
    let strict = strict.sh("echo ran").exits(125);
    assert_eq!(strict.stdout, "");
    assert!(strict.stderr.contains("keep the command from what decides (--proc)"), "{strict:?}");
    lab.assert_clean();
}

#[test]
fn a_program_that_fails_denies_and_says_why_to_the_user_alone() {
    let lab = Lab::new();
    for jail in [
        by_script(&lab, "echo secret; echo talk of it >&2; exec /nowhere/program"),
        by_lines(&lab, "read -r line; echo talk of it >&2; exit 3"),
        by_lines(&lab, "while read -r line; do echo \"{}\"; done"),
    ] {
        let jailed = jail.run(["curl", "-sS", "http://a.test/"]).exits(0);
        let lines: Vec<_> = jailed.stdout.lines().collect();
        assert_eq!(lines, ["Request blocked by httpjail", "Program evaluation failed"]);
        assert!(jailed.stderr.contains("WARN"), "{jailed:?}");
        assert_eq!(jailed.log, ["- GET http://a.test/"]);
    }
    lab.assert_clean();
}

/// Without a jail, too, the program is the user's.
#[test]
fn a_test_asks_the_program_as_the_user() {
    let lab = Lab::new();
    let httpjail = httpjail_tests::programs::httpjail();
    let test = |rule: &[&str], path: &str, code| {
        let url = format!("http://a.test{path}");
        let words = ["env", "SUDO_UID=12345", "SUDO_GID=12345", httpjail.to_str().expect("UTF-8")];
        let words = words.iter().chain(rule).copied().chain(["--test", "put", &url]);
        lab.outside().run(words).exits(code).stdout
    };
    let script = ["--sh", "test $HTTPJAIL_PATH = /ok || { id -u; exit 1; }"];
    let decided = "decided by the rule's program\n";
    assert_eq!(test(&script, "/ok", 0), format!("ALLOW PUT http://a.test/ok\n{decided}"));
    assert_eq!(test(&script, "/no", 1), format!("DENY PUT http://a.test/no\n12345\n{decided}"));
    let lines =
        ["--proc", "sh -c 'read line; echo {\\\"allow\\\": {\\\"max_tx_bytes\\\": 7}}; read end'"];
    let told = "ALLOW PUT http://a.test/ok\nat most 7 bytes may be sent\n";
    assert_eq!(test(&lines, "/ok", 0), format!("{told}{decided}"));
    assert_eq!(test(&["--proc", "/nowhere"], "/ok", 2), "");
    lab.assert_clean();
}

/// Though it runs as the same user.
#[test]
fn the_command_can_t_end_the_program() {
    let lab = Lab::new();
    let rule = "while read -r line; do echo pid $$; done";
    let script = "ask() { curl -sS http://a.test/ | sed -n s/^pid.//p; }
        pid=$(ask); echo is $pid; kill -9 $pid; echo killed $?
        cat /proc/$pid/comm; echo read $?; test $(ask) = $pid; echo same $?
        read go; test $(ask) = $pid; echo same $?";
    let mut jail = by_lines(&lab, rule).start(["sh", "-c", script]);
    let first = jail.line("is ");
    let told = first.trim().strip_prefix("is ").expect("a number").to_owned();
    jail.line("same");
    // The twin: outside of a jail the user may do it.
    lab.outside().as_user().sh(&format!("kill -9 {told}")).exits(0);
    jail.write("go\n");
    let jailed = jail.finish().exits(0);
    let expected = format!("is {told}\nkilled 1\nread 1\nsame 0\nsame 1\n");
    assert_eq!(jailed.stdout, expected, "{jailed:?}");
    lab.assert_clean();
}
