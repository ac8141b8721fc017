//! The bounds of the caller's cgroup hold for the jail, and what runs into one hurts the jail alone:
//! nothing gets out, nothing hangs, nothing is left.

use httpjail_tests::{Bound, Lab};

/// Enough for httpjail and a shell.
const MEMORY: u64 = 96 << 20;

/// Asks for ten times as much.
const GREEDY: [&str; 3] = ["python3", "-c", "x = b'x' * 1_000_000_000; print('had it')"];

#[test]
fn a_greedy_command_is_killed_and_told() {
    let lab = Lab::new();
    let bound = Bound::memory(MEMORY);
    assert_eq!(lab.outside().bound_by(&bound).run(GREEDY).signal, Some(9), "without a jail");
    let jailed = lab.jail().bound_by(&bound).run(GREEDY).exits(137);
    assert_eq!(jailed.stdout, "");
    // Not the command itself, but a child: it is the command's business.
    let script = format!("python3 -c \"{}\"; echo ended with $?", GREEDY[2]);
    let jailed = lab.jail().bound_by(&bound).sh(&script).exits(0);
    assert_eq!(jailed.stdout, "ended with 137\n", "{jailed:?}");
    drop(bound);
    lab.assert_clean();
}

#[test]
fn a_proxy_without_memory_ends_the_jail() {
    let lab = Lab::new();
    let origin = lab.origin("a.test");
    // Each of the connections wants memory.
    let script = "echo ready; read go
        seq 1000 | xargs -P 8 -I {} curl -s -o /dev/null https://a.test/{}; echo served";
    let mut jail = lab.jail().js("true").start(["sh", "-c", script]);
    jail.line("ready");
    let bound = Bound::memory(64 << 10);
    bound.take_in(jail.proxy().as_raw_pid().unsigned_abs());
    jail.write("go\n");
    let jailed = jail.finish().exits(125);
    assert!(!jailed.stdout.contains("served"), "{jailed:?}");
    assert!(origin.seen().len() < 1000);
    drop(bound);
    lab.assert_clean();
}

/// Starts processes until it may not, or has three times as many as it should; then makes a request
/// by itself, ends them, and makes another.
const BOMB: &str = "import os, signal, urllib.request, urllib.error
def ask(path):
    try:
        status = urllib.request.urlopen('http://a.test/' + path).status
    except urllib.error.HTTPError as error:
        status = error.code
    print('status', status, flush=True)
children = []
try:
    while len(children) < 300:
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
except BlockingIOError:
    pass
ask('bomb')
for child in children:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
ask('peace')
print('children', len(children))";

/// The proxy is within the same bound, and has no thread left to resolve a name.
#[test]
fn a_fork_bomb_harms_no_jail() {
    const PROCESSES: u64 = 100;
    let lab = Lab::new();
    let origin = lab.origin("a.test");
    let bound = Bound::processes(PROCESSES);
    let jailed = lab.jail().js("true").bound_by(&bound).run(["python3", "-c", BOMB]).exits(0);
    let (statuses, children) = jailed.stdout.split_once("children ").expect("it came to its end");
    let children: u64 = children.trim().parse().expect("a number");
    assert!((PROCESSES / 2..PROCESSES).contains(&children), "{children}");
    assert_eq!(statuses, "status 502\nstatus 200\n", "{jailed:?}");
    assert_eq!(jailed.log, ["+ GET http://a.test/bomb", "+ GET http://a.test/peace"]);
    assert_eq!(origin.seen_lines(), ["GET http://a.test/peace"]);
    drop(bound);
    lab.assert_clean();
}

/// From the first process that is missing to the last.
#[test]
fn runs_nothing_when_it_may_not_start_what_it_needs() {
    let lab = Lab::new();
    let mut codes = Vec::new();
    for processes in 1..=9 {
        let bound = Bound::processes(processes);
        let jailed = lab.jail().option("--workers=1").bound_by(&bound).sh("echo runs");
        let code = jailed.code.expect("it ends by itself");
        assert_eq!(jailed.stdout.is_empty(), code != 0, "{processes}: {jailed:?}");
        assert_eq!(jailed.stderr.is_empty(), code == 0, "{processes}: {jailed:?}");
        println!("{processes} {code} {}", jailed.stderr);
        codes.push(code);
        drop(bound);
        lab.assert_clean();
    }
    assert_eq!((codes.first(), codes.last()), (Some(&125), Some(&0)), "{codes:?}");
}
