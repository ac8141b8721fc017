//! TLS as clients of the jail find it: versions, and sessions that are gone on with.

use httpjail_tests::addresses::WIRE_V4;
use httpjail_tests::{Finished, Invocation, Lab, openssl};

/// A request through `openssl s_client`, which gets its answer to the end.
fn s_client(invocation: &Invocation<'_>, name: &str, options: &str) -> Finished {
    invocation.sh(&format!(
        "printf 'GET / HTTP/1.1\\r\\nHost: {name}\\r\\nConnection: close\\r\\n\\r\\n' |
            openssl s_client -ign_eof -servername {name} {options} 2>&1"
    ))
}

#[test]
fn versions_1_2_and_1_3_are_served_and_older_ones_refused() {
    let lab = Lab::new();
    openssl::furnish_certificates(&lab, "old.test");
    lab.set_name("old.test", &[WIRE_V4.into()]);
    let _server = openssl::Server::start(&lab, 443, &["-cipher", "ALL@SECLEVEL=0"]);
    let ca = lab.home().join("ca.pem");
    for (version, is_served) in [
        ("-tls1_3", true),
        ("-tls1_2", true),
        ("-tls1_1 -cipher ALL@SECLEVEL=0", false),
        ("-tls1 -cipher ALL@SECLEVEL=0", false),
    ] {
        let options = format!("-connect old.test:443 {version}");
        let outside = s_client(&lab.outside(), "old.test", &options);
        assert!(outside.stdout.contains(" 200 ok"), "without a jail: {outside:?}");
        let jail = lab.jail().js("true").option("--upstream-ca").option(&ca);
        let jailed = s_client(&jail, "old.test", &options);
        assert_eq!(jailed.stdout.contains(" 200 ok"), is_served, "{version}: {jailed:?}");
        let refused = jailed.stdout.contains(" alert ");
        assert_eq!(refused, !is_served, "{version}: {jailed:?}");
        let record = if is_served { "+ GET https://old.test/" } else { "- TLS tls://old.test:443" };
        assert_eq!(jailed.log, [record], "{version}");
    }
    lab.assert_clean();
}

#[test]
fn origins_of_versions_1_2_and_1_3_are_asked_and_older_ones_refused() {
    let lab = Lab::new();
    openssl::furnish_certificates(&lab, "old.test");
    lab.set_name("old.test", &[WIRE_V4.into()]);
    let ca = lab.home().join("ca.pem");
    let cipher = ["-cipher", "ALL@SECLEVEL=0"];
    let _servers =
        [("-tls1_3", 1443), ("-tls1_2", 2443), ("-tls1_1", 3443)].map(|(version, port)| {
            openssl::Server::start(&lab, port, &[&[version][..], &cipher].concat())
        });
    let ask = |port| format!("curl -sS -w ' %{{http_code}}' https://old.test:{port}/");
    let old = "--tls-max 1.1 --ciphers ALL@SECLEVEL=0 --cacert ca.pem";
    let outside = lab.outside().sh(&format!("{} {old}", ask(3443))).exits(0);
    assert!(outside.stdout.ends_with(" 200"), "without a jail: {outside:?}");
    for (port, code) in [(1443, "200"), (2443, "200"), (3443, "502")] {
        let jail = lab.jail().js("true").option("--upstream-ca").option(&ca);
        let jailed = jail.sh(&ask(port)).exits(0);
        assert!(jailed.stdout.ends_with(code), "{port}: {jailed:?}");
        let tells = jailed.stdout.contains("httpjail failed to establish TLS with old.test: ");
        assert_eq!(tells, code == "502", "{port}: {jailed:?}");
        assert_eq!(jailed.log, [format!("+ GET https://old.test:{port}/")]);
    }
    lab.assert_clean();
}

/// Whoever brings a session of a.test to b.test gets a new handshake and b.test's certificate, and is
/// judged as b.test's.
#[test]
fn sessions_are_gone_on_with_by_the_name_that_they_were_begun_with() {
    let lab = Lab::new();
    let (a, b) = (lab.origin("a.test"), lab.origin("b.test"));
    for version in ["-tls1_3", "-tls1_2"] {
        let step = |name: &str, options: &str| {
            format!(
                "printf 'GET / HTTP/1.1\\r\\nHost: {name}\\r\\nConnection: close\\r\\n\\r\\n' |
                openssl s_client -ign_eof {version} -connect {name}:443 -servername {name} \
                {options} 2>&1 | grep -aE '^(New|Reused), |^subject|^HTTP/1.1 |^hello'\n"
            )
        };
        let script = [
            "rm -f session\n".to_owned(),
            step("a.test", "-sess_out session"),
            step("a.test", "-sess_in session"),
            step("b.test", "-sess_in session"),
        ];
        let kinds = |done: &Finished| -> Vec<String> {
            let words = done.stdout.lines().filter_map(|line| line.split_once(", "));
            words.map(|(kind, _)| kind.to_owned()).collect()
        };
        let outside = lab.outside().sh(&script.concat());
        assert_eq!(kinds(&outside), ["New", "Reused", "New"], "without a jail: {outside:?}");
        let jailed = lab.jail().as_user().js("r.host === 'a.test'").sh(&script.concat());
        assert_eq!(kinds(&jailed), ["New", "Reused", "New"], "{version}: {jailed:?}");
        let log = ["+ GET https://a.test/", "+ GET https://a.test/", "- GET https://b.test/"];
        assert_eq!(jailed.log, log, "{version}");
    }
    assert_eq!((a.seen().len(), b.seen().len()), (2 * 4, 2));
    lab.assert_clean();
}
