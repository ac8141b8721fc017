//! The jail is tried from inside before the command runs, and nobody sees anything of that.

use std::process::Command;
use std::time::{Duration, Instant};

use httpjail_tests::{Lab, programs};
use rustix::process::Signal;

/// Less than what the jail's init waits for the proxy.
const SOON: Duration = Duration::from_millis(2500);

/// Runs nft in the client's namespace, outside every jail.
fn nft(lab: &Lab, words: &str) {
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let nft = programs::require("nft");
    let done = lab.at_client(move || Command::new(nft).args(words).output());
    let done = done.expect("nft can be run");
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn leaves_no_line_and_no_packet() {
    let lab = Lab::new();
    let jailed = lab.jail().option("-v").run(["true"]).exits(0);
    assert_eq!(jailed.log, Vec::<String>::new());
    assert!(!jailed.stderr.contains("refused"), "{}", jailed.stderr);
    assert_eq!(lab.frames().len(), 0, "packets got out");
    let jailed = lab.jail().option("-v").probe(["udp-send-to", "45.67.89.2:9"]).exits(0);
    assert!(jailed.stderr.contains("refused"), "the command's own is told: {}", jailed.stderr);
    lab.assert_clean();
}

#[test]
fn judges_the_command_where_init_was_answered() {
    let lab = Lab::new();
    for address in ["192.0.2.1:443", "[2001:db8::1]:443"] {
        let url = format!("http://{address}/");
        let curl = ["curl", "-sS", "-g", "-o", "/dev/null", "-w", "%{http_code}", &url];
        let jailed = lab.jail().run(curl).exits(0);
        assert_eq!(jailed.stdout, "403");
        assert_eq!(jailed.log, [format!("- GET {url}")]);
    }
    lab.assert_clean();
}

/// The connection is turned as it should be, and arrives at nobody.
#[test]
fn runs_nothing_when_the_proxy_is_out_of_reach() {
    let lab = Lab::new();
    lab.jail().sh("echo ran > ran").exits(0);
    lab.outside().sh("rm ran").exits(0);
    for host in ["ip daddr 127.0.0.1", "ip6 daddr ::1"] {
        nft(&lab, "add table inet broken");
        nft(&lab, "add chain inet broken in { type filter hook input priority 0 ; }");
        nft(&lab, &format!("add rule inet broken in {host} tcp flags syn reject with tcp reset"));
        let jailed = lab.jail().sh("echo ran > ran").exits(125);
        let told = "failed to shut the jail: the eBPF programs did not bring a connection to the \
                    jail's proxy: Connection refused";
        assert!(jailed.stderr.contains(told), "{}", jailed.stderr);
        assert!(jailed.stderr.contains("hint: nothing was run"), "{}", jailed.stderr);
        assert!(jailed.stderr.contains("no firewall rule may hold up"), "{}", jailed.stderr);
        lab.outside().sh("cat ran").exits(1);
        nft(&lab, "delete table inet broken");
    }
    lab.assert_clean();
}

/// No connection comes about, and none fails.
fn swallow_connections(lab: &Lab) {
    nft(lab, "add table inet broken");
    nft(lab, "add chain inet broken in { type filter hook input priority 0 ; }");
    nft(lab, "add rule inet broken in iif lo tcp flags syn drop");
}

#[test]
fn a_signal_ends_the_wait_for_the_proxy() {
    let lab = Lab::new();
    swallow_connections(&lab);
    for (signal, code) in
        [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129), (Signal::QUIT, 131)]
    {
        let jail = lab.jail().option("-vv").start(["sh", "-c", "echo ran > ran"]);
        jail.error_line("the jail is tried from inside");
        let since = Instant::now();
        jail.signal(signal);
        let jailed = jail.finish().exits(code);
        assert!(since.elapsed() < SOON, "{signal:?}: {:?}: {jailed:?}", since.elapsed());
        lab.outside().sh("cat ran").exits(1);
    }
    nft(&lab, "delete table inet broken");
    lab.assert_clean();
}

#[test]
fn the_timeout_ends_the_wait_for_the_proxy() {
    let lab = Lab::new();
    swallow_connections(&lab);
    let since = Instant::now();
    lab.jail().option("--timeout").option("0.5").sh("echo ran > ran").exits(124);
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    let jailed = lab.jail().sh("echo ran > ran").exits(125);
    assert!(jailed.stderr.contains("Connection timed out"), "{}", jailed.stderr);
    lab.outside().sh("cat ran").exits(1);
    nft(&lab, "delete table inet broken");
    lab.assert_clean();
}

/// It arrives as the command starts, which has no handler then.
#[test]
fn keeps_another_signal_for_the_command() {
    let lab = Lab::new();
    swallow_connections(&lab);
    let jail = lab.jail().option("-vv").start(["sh", "-c", "sleep 1000"]);
    jail.error_line("the jail is tried from inside");
    jail.signal(Signal::USR1);
    nft(&lab, "delete table inet broken");
    jail.finish().exits(138);
    lab.assert_clean();
}
