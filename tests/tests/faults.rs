//! A proxy that can't go on: nothing passes meanwhile, and the jail can be ended.

use httpjail_tests::Lab;
use rustix::process::{Signal, kill_process};

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
