//! What the system is short of, and a proxy that can't go on: nothing passes meanwhile that the
//! rule didn't allow, and the jail goes on afterwards or can be ended.

use std::time::{Duration, Instant};

use httpjail_tests::{Finished, Lab, programs};
use rustix::process::{Signal, kill_process, test_kill_process};

/// Asks for a path of the web server, and tells the status and curl's own.
fn curl(path: &str, patience: u32) -> String {
    format!(
        "curl -s -o /dev/null -w '%{{http_code}} ' --max-time {patience} http://a.test/{path}; \
         echo $?"
    )
}

/// curl's status when its time is over.
const NO_ANSWER: &str = "000 28";

#[test]
fn lets_nothing_out_while_the_proxy_is_stopped() {
    let lab = Lab::new();
    let origin = lab.origin("a.test");
    let script =
        format!("echo ready; read go; {}; echo done; read go; {}", curl("1", 1), curl("2", 10));
    let mut jail = lab.jail().js("true").start(["sh", "-c", &script]);
    jail.line("ready");
    let proxy = jail.proxy();
    kill_process(proxy, Signal::STOP).expect("a living process");
    jail.write("go\n");
    jail.line("done");
    assert_eq!(origin.seen_lines(), [""; 0]);
    kill_process(proxy, Signal::CONT).expect("a stopped process");
    jail.write("go\n");
    let jailed = jail.finish().exits(0);
    assert_eq!(jailed.stdout, format!("ready\n{NO_ANSWER}\ndone\n200 0\n"));
    lab.assert_clean();
}

#[test]
fn ends_a_jail_at_its_timeout_though_the_proxy_is_stopped() {
    let lab = Lab::new();
    let origin = lab.origin("a.test");
    let script = format!("echo ready; read go; {}; exec sleep 1000", curl("1", 1000));
    let mut jail =
        lab.jail().js("true").option("--timeout").option("3").start(["sh", "-c", &script]);
    jail.line("ready");
    kill_process(jail.proxy(), Signal::STOP).expect("a living process");
    jail.write("go\n");
    jail.finish().exits(124);
    assert_eq!(origin.seen_lines(), [""; 0]);
    lab.assert_clean();
}

/// Its records can't be written any more, whatever the end waits for.
#[test]
fn ends_soon_though_the_proxy_is_stopped() {
    const SOON: Duration = Duration::from_secs(4);
    let lab = Lab::new();
    for (script, signal, code) in [
        ("echo ready; read end; exit 3", None, 3),
        ("echo ready; exec sleep 1000", Some(Signal::TERM), 143),
    ] {
        let jail = lab.jail().js("true").start(["sh", "-c", script]);
        jail.line("ready");
        let proxy = jail.proxy();
        kill_process(proxy, Signal::STOP).expect("a living process");
        let since = Instant::now();
        signal.into_iter().for_each(|signal| jail.signal(signal));
        let jailed = jail.finish().exits(code);
        assert!(since.elapsed() < SOON, "{script}: after {:?}", since.elapsed());
        // How it is told depends on which of two waits ends first on a busy machine.
        let lost = "records may be lost";
        assert!(jailed.stderr.contains(lost), "{}", jailed.stderr);
        test_kill_process(proxy).expect_err("the proxy is gone");
    }
    lab.assert_clean();
}

/// Runs a shell script in a jail whose httpjail was started by another script, which sees the
/// jail's command line as its arguments.
fn started_by(lab: &Lab, starter: &str, options: &[&str], script: &str) -> Finished {
    let (httpjail, ca) = (programs::httpjail(), lab.ca_file());
    let mut line = vec!["sh", "-c", starter, "sh", httpjail.to_str().expect("a path in UTF-8")];
    line.extend(["--upstream-ca", ca.to_str().expect("a path in UTF-8"), "--js", "true"]);
    line.extend(options);
    line.extend(["--", "sh", "-c", script]);
    lab.outside().run(line)
}

#[test]
fn serves_again_when_descriptors_are_free_again() {
    let lab = Lab::new();
    lab.origin("a.test");
    // More connections than the proxy has descriptors for, then a request, and one without them.
    let hold = "import socket, subprocess, sys\n\
        held = [socket.create_connection(('a.test', 80)) for _ in range(40)]\n\
        subprocess.run(['sh', '-c', sys.argv[1]])\n\
        for one in held: one.close()\n\
        subprocess.run(['sh', '-c', sys.argv[2]])";
    let script = format!("python3 -c \"{hold}\" \"{}\" \"{}\"", quoted(1), quoted(10));
    let plenty = started_by(&lab, r#"exec "$@""#, &[], &script).exits(0);
    assert_eq!(plenty.stdout, "200 0\n200 0\n");
    let few = started_by(&lab, r#"ulimit -n 64; exec "$@""#, &[], &script).exits(0);
    assert_eq!(few.stdout, format!("{NO_ANSWER}\n200 0\n"));
    lab.assert_clean();
}

#[test]
fn says_that_the_limit_of_open_files_is_too_low() {
    let lab = Lab::new();
    for (limit, workers) in [(6, 1), (16, 1), (24, 1), (63, 1), (64, 20), (100, 60)] {
        let starter = format!("ulimit -n {limit}; exec \"$@\"");
        let options = ["--workers", &workers.to_string()];
        let few = started_by(&lab, &starter, &options, "echo ran").exits(125);
        assert_eq!(few.stdout, "");
        let told = format!(
            "httpjail: failed to put up a jail with the limit of {limit} open files, and {workers} workers"
        );
        assert!(few.stderr.starts_with(&told), "{}", few.stderr);
        assert!(few.stderr.contains("hint: allow more: ulimit -n"), "{}", few.stderr);
    }
    // As many workers as a limit is enough for.
    for (limit, workers) in [(64, 4), (112, 20)] {
        let starter = format!("ulimit -n {limit}; exec \"$@\"");
        let options = ["--workers", &workers.to_string()];
        let enough = started_by(&lab, &starter, &options, "echo ran").exits(0);
        assert_eq!((&*enough.stdout, &*enough.stderr), ("ran\n", ""));
    }
    lab.assert_clean();
}

/// The first one is the proxy's own; that no connection arrives there is no news.
#[test]
fn a_proxy_that_cannot_start_is_told_as_such() {
    let lab = Lab::new();
    // Root is held to no number of processes, the proxy's user is.
    let options = ["--workers", "20"];
    let few = started_by(&lab, r#"exec prlimit --nproc=10 "$@""#, &options, "echo ran").exits(125);
    assert_eq!(few.stdout, "");
    assert!(few.stderr.contains("ERROR the proxy failed"), "{}", few.stderr);
    let told = "httpjail: failed to start the proxy: it ended before it served";
    assert!(few.stderr.contains(told), "{}", few.stderr);
    assert!(!few.stderr.contains("failed to shut the jail"), "{}", few.stderr);
    lab.assert_clean();
}

/// The kernel's way to tell of it would end httpjail with nothing taken down.
#[test]
fn a_limit_on_the_size_of_files_is_an_error_like_others() {
    let lab = Lab::new();
    let few = started_by(&lab, r#"ulimit -f 8; exec "$@""#, &[], "echo ran").exits(125);
    assert_eq!(few.stdout, "");
    assert!(few.stderr.contains("File too large"), "{}", few.stderr);
    // SIGXFSZ; the command has it as it is elsewhere.
    started_by(&lab, r#"exec "$@""#, &[], "ulimit -f 0; exec echo ran > ran").exits(153);
    lab.assert_clean();
}

/// [`curl`] for use between double quotes of a shell.
fn quoted(patience: u32) -> String {
    curl("x", patience).replace("$?", "\\$?")
}

#[test]
fn a_full_disk_changes_no_verdict_and_is_told() {
    const REQUESTS: usize = 100;
    let lab = Lab::new();
    let origin = lab.origin("a.test");
    let folder = lab.home().join("small");
    std::fs::create_dir(&folder).expect("a folder in the lab's");
    let folder = folder.to_str().expect("a path in UTF-8");
    // The file system of one page goes with the namespace.
    let starter = format!(
        "exec unshare --mount sh -c 'mount -t tmpfs -o size=4k small {folder} && exec \"$@\"' sh \"$@\""
    );
    let path = "x".repeat(100);
    let script = format!(
        "for n in $(seq {REQUESTS}); do curl -s -o /dev/null -w '%{{http_code}}\n' \
         http://a.test/{path}; done"
    );
    let log = format!("{folder}/log");
    let jailed = started_by(&lab, &starter, &["--request-log", &log], &script).exits(0);
    assert_eq!(jailed.stdout, "200\n".repeat(REQUESTS));
    assert_eq!(origin.seen_lines().len(), REQUESTS);
    assert!(jailed.stderr.contains("the request log can't be written"), "{}", jailed.stderr);
    assert!(jailed.stderr.contains("records could not be written"), "{}", jailed.stderr);
    lab.assert_clean();
}
