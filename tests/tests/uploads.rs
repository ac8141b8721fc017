//! Large bodies get through whole and without a hitch.

use http_body_util::Full;
use httpjail_tests::{Lab, Reply};

const MEBIBYTES: usize = 16;

/// For lo and IPv6, Linux makes packets of more than 64 KiB, whose length is in an extension header:
/// while a window is small, so there are several uploads, and each waits for the one before.
#[test]
fn uploads_lose_no_packet_by_either_family() {
    let lab = Lab::new();
    let origin = lab.origin_with("a.test", |seen| {
        let length = format!("{}\n", seen.body.len());
        Reply::new(Full::from(length))
    });
    let url = "http://a.test/[1-8]";
    for family in ["-4", "-6"] {
        let script = format!(
            "head -c {MEBIBYTES}M /dev/zero > body
             curl {family} -sS --max-time 15 -X POST -T body '{url}'; rm body"
        );
        let wanted = format!("{}\n", MEBIBYTES << 20).repeat(8);
        assert_eq!(lab.outside().sh(&script).exits(0).stdout, wanted, "without a jail");
        let jailed = lab.jail().js("true").env("RUST_LOG", "info").sh(&script).exits(0);
        assert_eq!(jailed.stdout, wanted, "{family}: {jailed:?}");
        assert!(
            !jailed.stderr.contains("packet-header"),
            "{family}: packets were lost: {jailed:?}"
        );
    }
    assert_eq!(origin.seen().len(), 32);
    lab.assert_clean();
}
