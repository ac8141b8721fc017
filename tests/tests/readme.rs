//! The README's commands do what it says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use httpjail_tests::{Finished, Lab, programs};

/// Programs that the README jails, as scripts that ask for what they are used for there.
const COMMANDS: &[(&str, &str)] = &[
    (
        "git",
        "for url in https://github.com/x/y/info/refs https://example.test/; do
            curl -sS -o /dev/null -w '%{http_code} ' $url
        done",
    ),
    (
        "my-agent",
        "for method in GET POST; do
            curl -sS -o /dev/null -w '%{http_code} ' -X $method https://api.github.com/user
        done",
    ),
    ("bank-client", "curl -sS -o /dev/null -w '%{http_code} ' https://bank.example/"),
    ("npm", "curl -sS -o /dev/null -w '%{http_code} ' https://example.test/left-pad"),
    (
        "pip",
        "head -c 9999 /dev/zero > body
        curl -sS -o /dev/null -w '%{http_code} ' https://pypi.org/simple/requests/
        curl -sS -o /dev/null -w '%{http_code} ' --data-binary @body https://pypi.org/legacy/
        curl -sS https://example.test/",
    ),
];

/// The README's indented blocks of shell commands that begin with `start`.
fn block(start: &str) -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(readme).expect("there is a README");
    let mut blocks = readme.split("\n```\n").filter(|block| block.starts_with(start));
    blocks.next().expect(start).trim_start_matches("$ ").to_owned()
}

/// Runs a command of the README: `httpjail` is the one under test, the lab's authority is the
/// system's, and root needs no `sudo`.
fn run(lab: &Lab, command: &str) -> Finished {
    let bin = lab.home().join("bin");
    fs::create_dir_all(&bin).expect("the lab's home is writable");
    for (name, script) in COMMANDS {
        let path = bin.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("the lab's home is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is our own");
    }
    let script = format!(
        "PATH={}:$PATH\nsudo() {{ \"$@\"; }}\nhttpjail() {{ {} \"$@\"; }}\n\
         export SSL_CERT_FILE={}\n{command}",
        bin.display(),
        programs::httpjail().display(),
        lab.ca_file().display(),
    );
    lab.outside().sh(&script)
}

#[test]
fn the_first_command_lets_out_github_alone() {
    let lab = Lab::new();
    let (github, other) = (lab.origin("github.com"), lab.origin("example.test"));
    let finished = run(&lab, &block("$ httpjail --js")).exits(0);
    assert_eq!(finished.stdout, "200 403 ");
    assert_eq!((github.seen().len(), other.seen().len()), (1, 0));
    lab.assert_clean();
}

#[test]
fn without_root_the_rule_is_the_same() {
    let lab = Lab::new();
    let (github, other) = (lab.origin("github.com"), lab.origin("example.test"));
    let finished = run(&lab, &block("httpjail --weak")).exits(0);
    assert_eq!(finished.stdout, "200 403 ");
    assert_eq!((github.seen().len(), other.seen().len()), (1, 0));
    lab.assert_clean();
}

#[test]
fn a_proxy_alone_is_used_by_who_is_told_of_it() {
    let lab = Lab::new();
    let github = lab.origin("github.com");
    fs::write(lab.home().join("rule.js"), "r.host === 'github.com'").expect("it is writable");
    let commands = block("httpjail --server");
    let httpjail = lab.httpjail().into_os_string().into_string().expect("UTF-8");
    let commands = commands.replace("httpjail -", &format!("{httpjail} -"));
    let (server, client) = commands.split_once('\n').expect("two commands");
    let script = format!(
        "httpjail() {{ {httpjail} \"$@\"; }}
        {server} 2> talk & until grep -q 'programs must trust' talk; do :; done
        {client}; kill $!; wait $!; cat requests.log"
    );
    let finished = lab.outside().as_user().sh(&script).exits(0);
    assert!(finished.stdout.starts_with("hello from github.com\n"), "{finished:?}");
    assert!(finished.stdout.ends_with(" + GET https://github.com/\n"), "{finished:?}");
    assert_eq!(github.seen().len(), 1);
    lab.assert_clean();
}

#[test]
fn what_is_opened_is_no_door_for_requests_and_the_bank_is_reached_by_its_name() {
    let lab = Lab::new();
    let (github, bank) = (lab.origin("github.com"), lab.origin("bank.example"));
    let log = lab.home().join("log");
    let command = block("sudo httpjail --allow-tcp");
    let command =
        command.replace("--passthrough", &format!("--request-log {} --passthrough", log.display()));
    let finished = run(&lab, &command).exits(0);
    assert_eq!(finished.stdout, "403 403 200 ");
    assert_eq!((github.seen().len(), bank.seen().len()), (0, 1));
    let log = fs::read_to_string(log).expect("the log is written");
    assert!(log.ends_with(" + TLS tls://bank.example:443\n"), "{log}");
    lab.assert_clean();
}

#[test]
fn the_agent_reads_and_never_writes() {
    let lab = Lab::new();
    let api = lab.origin("api.github.com");
    let finished = run(&lab, &block("sudo httpjail --js \"r.host === 'api.github.com'")).exits(0);
    assert_eq!(finished.stdout, "200 403 ");
    assert_eq!(api.seen().len(), 1);
    let finished = run(&lab, &block("sudo httpjail --allow 'GET api.github.com'")).exits(0);
    assert_eq!(finished.stdout, "200 403 ");
    assert_eq!(api.seen().len(), 2);
    lab.assert_clean();
}

#[test]
fn the_log_has_a_line_for_each_request() {
    let lab = Lab::new();
    let _origin = lab.origin("example.test");
    let finished = run(&lab, &block("sudo httpjail --js \"true\" --request-log")).exits(0);
    assert_eq!(finished.stdout, "200 ");
    let log = fs::read_to_string(lab.home().join("requests.log")).expect("a log");
    assert_eq!(log.lines().count(), 1);
    assert!(log.ends_with(" + GET https://example.test/left-pad\n"), "{log}");
    lab.assert_clean();
}

#[test]
fn the_command_is_told_why_and_limited() {
    let lab = Lab::new();
    let (index, other) = (lab.origin("pypi.org"), lab.origin("example.test"));
    let finished = run(&lab, &block("sudo httpjail --js \"\n")).exits(0);
    let told = "Request blocked by httpjail\nexample.test is not a package index";
    assert_eq!(finished.stdout.trim_end(), format!("200 413 {told}"));
    assert_eq!((index.seen().len(), other.seen().len()), (1, 0));
    lab.assert_clean();
}

#[test]
fn a_list_or_a_program_decides() {
    let lab = Lab::new();
    let (listed, other) = (lab.origin("example.test"), lab.origin("api.github.com"));
    let rule = "import json, sys\n\
        for line in sys.stdin:\n    \
            asked = json.loads(line)\n    \
            allow = asked['host'] == 'api.github.com' and asked['method'] == 'GET'\n    \
            print(json.dumps({'id': asked['id'], 'allow': allow}), flush=True)\n";
    fs::write(lab.home().join("allowed-hosts"), "example.test\n").expect("it is writable");
    fs::write(lab.home().join("rule.py"), rule).expect("it is writable");
    let finished = run(&lab, &block("sudo httpjail --sh")).exits(0);
    assert_eq!(finished.stdout, "200 200 403 ", "{finished:?}");
    assert_eq!((listed.seen().len(), other.seen().len()), (1, 1));
    lab.assert_clean();
}

#[test]
fn the_doctor_is_content() {
    let lab = Lab::new();
    run(&lab, &block("sudo httpjail doctor")).exits(0);
    lab.assert_clean();
}
