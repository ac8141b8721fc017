//! Programs trust the run's authority without a variable that says so, and the system's own stores
//! stay as they are.

use httpjail_tests::Lab;

/// Fetches a page of `a.test`, with no variable set but PATH, in the ways of different libraries.
/// A failure of one shows by its name alone.
const FETCH: &str = "
    bare() { env -i PATH=\"$PATH\" \"$@\"; }
    bare curl -sS https://a.test/ || echo curl
    bare wget -qO- https://a.test/ || echo wget
    bare python3 -c 'import urllib.request as u; print(u.urlopen(\"https://a.test/\").read().decode())' ||
        echo python
    bare openssl s_client -brief -verify_return_error -connect a.test:443 < /dev/null > /dev/null ||
        echo openssl
    cd /tmp; bare git ls-remote https://a.test/x 2>&1 | grep -o 'not found'";

#[test]
fn an_empty_environment_is_enough() {
    let lab = Lab::new();
    lab.origin("a.test");
    let outside = lab.outside().sh(FETCH);
    assert!(!outside.stdout.contains("hello"), "nobody trusts the lab's authority: {outside:?}");
    let jailed = lab.jail().js("true").sh(FETCH);
    for program in ["curl", "wget", "python", "openssl"] {
        assert!(!jailed.stdout.lines().any(|line| line == program), "{program}: {jailed:?}");
    }
    assert_eq!(jailed.stdout.matches("hello from a.test").count(), 3, "{jailed:?}");
    lab.assert_clean();
}

#[test]
fn java_trusts_without_options() {
    const PROGRAM: &str = r#"class Get { public static void main(String[] a) throws Exception {
        System.out.println(new String(new java.net.URL("https://a.test/").openStream().readAllBytes()));
    } }"#;
    let lab = Lab::new();
    lab.origin("a.test");
    std::fs::write(lab.home().join("Get.java"), PROGRAM).expect("the home is writable");
    let script = "env -i PATH=\"$PATH\" java -Xint Get.java 2>&1";
    assert!(!lab.outside().sh(script).stdout.contains("hello"));
    let jailed = lab.jail().js("true").sh(script);
    assert!(jailed.stdout.contains("hello from a.test"), "{jailed:?}");
    lab.assert_clean();
}

#[test]
fn the_systems_stores_stay_as_they_are() {
    const SUMS: &str = "find /etc/ssl /etc/pki -type f 2>/dev/null | sort | xargs md5sum | md5sum";
    let lab = Lab::new();
    let before = lab.outside().sh(SUMS).stdout;
    let mut jail =
        lab.jail().js("true").start(["sh", "-c", &format!("{SUMS}; echo ready; read end")]);
    let inside = jail.line("-");
    assert_ne!(inside.trim(), before.trim());
    jail.line("ready");
    assert_eq!(lab.outside().sh(SUMS).stdout, before);
    jail.close_stdin();
    jail.finish();
    assert_eq!(lab.outside().sh(SUMS).stdout, before);
    lab.assert_clean();
}

#[test]
fn not_even_root_can_write_to_them() {
    let lab = Lab::new();
    let script = "for file in $CURL_CA_BUNDLE /etc/ssl/certs/ca-certificates.crt \
        /etc/ssl/certs/ba1979dd.0; do echo >> $file && echo $file; done";
    let jailed = lab.jail().js("true").sh(script);
    assert!(!jailed.stdout.contains("/etc/ssl"), "{jailed:?}");
    lab.assert_clean();
}
