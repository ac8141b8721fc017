//! The jail is tried from inside before the command runs, and nobody sees anything of that.

use std::process::Command;

use httpjail_tests::{Lab, programs};

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
        lab.outside().sh("cat ran").exits(1);
        nft(&lab, "delete table inet broken");
    }
    lab.assert_clean();
}
