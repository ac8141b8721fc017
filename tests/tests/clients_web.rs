//! What people use to fetch pages works in a jail as it does without, and is judged.

use httpjail_tests::{Lab, Origin};

const HELLO: &str = "hello from a.test";
const RULE: &str = "r.host === 'a.test'";

/// The client gets its page without a jail and in one that allows it; in one that doesn't, it gets
/// none and the origin isn't asked.
fn assert_fetches(script: &str) {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let outside = lab.outside().sh(script).exits(0);
    assert!(outside.stdout.contains(HELLO), "without a jail: {outside:?}");
    assert_judged(&lab, &a, script);
    lab.assert_clean();
}

fn assert_judged(lab: &Lab, a: &Origin, script: &str) {
    let before = a.seen().len();
    let allowed = lab.jail().as_user().js(RULE).sh(script).exits(0);
    assert!(allowed.stdout.contains(HELLO), "{allowed:?}");
    assert!(allowed.log.iter().all(|line| line.starts_with("+ ")), "{allowed:?}");
    assert!(a.seen().len() > before, "the origin was asked");
    let before = a.seen().len();
    let denied = lab.jail().as_user().js(&format!("!({RULE})")).sh(script);
    assert!(!denied.stdout.contains(HELLO), "{denied:?}");
    assert!(!denied.log.is_empty(), "{denied:?}");
    assert!(denied.log.iter().all(|line| line.starts_with("- ")), "{denied:?}");
    assert_eq!(a.seen().len(), before, "the denied request got out");
}

#[test]
fn curl() {
    assert_fetches("curl -sSf https://a.test/ && curl -sSf http://a.test/");
}

#[test]
fn wget() {
    assert_fetches("wget -q -O - --ca-certificate=\"$SSL_CERT_FILE\" https://a.test/");
}

#[test]
fn wget_with_the_variables_alone() {
    assert_fetches("wget -q -O - http://a.test/");
}

#[test]
fn python_urllib() {
    let program =
        "import urllib.request as u; print(u.urlopen(\"https://a.test/\").read().decode())";
    assert_fetches(&format!("/usr/bin/python3 -c '{program}'"));
}

#[test]
fn python_requests() {
    let program = "import requests; r = requests.get(\"https://a.test/\"); r.raise_for_status(); print(r.text)";
    assert_fetches(&format!("/usr/bin/python3 -c '{program}'"));
}

#[test]
fn node_fetch() {
    let program = "fetch(\"https://a.test/\").then(r => r.text()).then(console.log)";
    assert_fetches(&format!("node -e '{program}'"));
}

#[test]
fn node_https() {
    let program = "require(\"https\").get(\"https://a.test/\", r => r.pipe(process.stdout))";
    assert_fetches(&format!("node -e '{program}'"));
}

#[test]
fn openssl_s_client() {
    assert_fetches(
        "printf 'GET / HTTP/1.1\\r\\nHost: a.test\\r\\nConnection: close\\r\\n\\r\\n' |
            openssl s_client -quiet -verify_return_error -connect a.test:443 -servername a.test",
    );
}

#[test]
fn openssl_s_client_without_sni() {
    assert_fetches(
        "printf 'GET / HTTP/1.1\\r\\nHost: a.test\\r\\nConnection: close\\r\\n\\r\\n' |
            openssl s_client -quiet -verify_return_error -connect a.test:443 -noservername",
    );
}

#[test]
fn getent_and_dig_then_curl() {
    assert_fetches(
        "getent hosts a.test > /dev/null && dig +short a.test && curl -sSf https://a.test/",
    );
}

/// keytool fetches a revocation list by Java's own HTTPS client; that the origin was asked shows that
/// the run's trust store was believed. (Running a program of our own would take a compiler.)
#[test]
fn java() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let store = lab.home().join("store.p12");
    let import = format!(
        "keytool -importcert -noprompt -alias lab -storepass changeit -keystore {} -file {}",
        store.display(),
        lab.ca_file().display()
    );
    lab.outside().sh(&import).exits(0);
    let options = format!(
        "-Djavax.net.ssl.trustStore={} -Djavax.net.ssl.trustStorePassword=changeit",
        store.display()
    );
    let fetch = ["keytool", "-printcrl", "-file", "https://a.test/list.crl"];
    lab.outside().run(fetch);
    assert_eq!(a.seen().len(), 0, "a stranger's authority is not believed");
    lab.outside().env("JAVA_TOOL_OPTIONS", options).run(fetch);
    assert_eq!(a.seen_lines(), ["GET https://a.test/list.crl"], "without a jail");
    let allowed = lab.jail().js(RULE).run(fetch);
    assert_eq!(a.seen().len(), 2, "{allowed:?}");
    assert_eq!(allowed.log, ["+ GET https://a.test/list.crl"]);
    let denied = lab.jail().run(fetch);
    assert_eq!(denied.log, ["- GET https://a.test/list.crl"]);
    assert_eq!(a.seen().len(), 2, "the denied request got out");
    lab.assert_clean();
}
