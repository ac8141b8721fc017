//! Every HTTP(S) request of a jail is judged, however it is made; what is allowed arrives as it was.

use httpjail_tests::{Invocation, Lab, Origin};
use rustix::process::{Signal, kill_process};

const CODE: [&str; 6] = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}"];

fn status(invocation: &Invocation<'_>, arguments: &[&str]) -> String {
    invocation.run(CODE.iter().chain(arguments)).exits(0).stdout
}

/// The request gets through without a jail and under a rule that allows it, and is denied by one
/// that doesn't, in which case the origin sees nothing.
fn assert_judged(lab: &Lab, origin: &Origin, rule: &str, url: &str, arguments: &[&str]) {
    let arguments: Vec<_> = arguments.iter().copied().chain([url]).collect();
    // Queries often hold credentials.
    let redacted = |(path, _): (&str, &str)| format!("{path}?<redacted>");
    let logged = url.split_once('?').map_or_else(|| url.to_owned(), redacted);
    assert_eq!(status(&lab.outside(), &arguments), "200", "without a jail");
    let before = origin.seen().len();
    let allowed = lab.jail().js(rule).run(CODE.iter().chain(&arguments)).exits(0);
    assert_eq!(allowed.stdout, "200", "{allowed:?}");
    assert_eq!(allowed.log, [format!("+ GET {logged}")]);
    assert_eq!(origin.seen().len(), before + 1, "one request, once");
    let denied = lab.jail().js(&format!("!({rule})")).run(CODE.iter().chain(&arguments)).exits(0);
    assert_eq!(denied.stdout, "403", "{denied:?}");
    assert_eq!(denied.log, [format!("- GET {logged}")]);
    assert_eq!(origin.seen().len(), before + 1, "the denied request got out");
}

#[test]
fn judges_each_host_by_the_rule() {
    let lab = Lab::new();
    let (a, b) = (lab.origin("a.test"), lab.origin("b.test"));
    let script = "for url in https://a.test/x https://b.test/x; do
        curl -sS -o /dev/null -w '%{http_code} ' $url; done";
    assert_eq!(lab.outside().sh(script).exits(0).stdout, "200 200 ");
    assert_eq!(b.seen().len(), 1);
    let jailed = lab.jail().js("r.host === 'a.test'").sh(script).exits(0);
    assert_eq!(jailed.stdout, "200 403 ");
    assert_eq!(jailed.log, ["+ GET https://a.test/x", "- GET https://b.test/x"]);
    assert_eq!(a.seen_lines(), ["GET https://a.test/x", "GET https://a.test/x"]);
    assert_eq!(b.seen().len(), 1, "the denied request reached its origin");
    lab.assert_clean();
}

#[test]
fn judges_http_and_https_on_usual_and_other_ports() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    for url in [
        "http://a.test/x?y=1",
        "https://a.test/x?y=1",
        "http://a.test:8080/",
        "https://a.test:8443/",
    ] {
        assert_judged(&lab, &a, "r.host === 'a.test'", url, &[]);
    }
    lab.assert_clean();
}

#[test]
fn judges_both_families() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    for family in ["-4", "-6"] {
        for url in ["http://a.test/", "https://a.test/"] {
            assert_judged(&lab, &a, "r.host === 'a.test'", url, &[family]);
        }
    }
    lab.assert_clean();
}

#[test]
fn judges_ip_literals() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let rule = format!("['{}', '{}', '[{}]'].includes(r.host)", a.v4(), a.v6(), a.v6());
    for host in [a.v4().to_string(), format!("[{}]", a.v6())] {
        for scheme in ["http", "https"] {
            assert_judged(&lab, &a, &rule, &format!("{scheme}://{host}/"), &["-g"]);
        }
    }
    lab.assert_clean();
}

#[test]
fn denies_everything_without_a_rule() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    assert_eq!(status(&lab.outside(), &["https://a.test/"]), "200");
    let denied = lab.jail().run(["curl", "-sS", "-i", "https://a.test/"]).exits(0);
    assert!(denied.stdout.starts_with("HTTP/2 403"), "{denied:?}");
    assert!(denied.stdout.to_ascii_lowercase().contains("content-type: text/plain"));
    assert!(denied.stdout.contains("Request blocked by httpjail"));
    assert_eq!(a.seen().len(), 1);
    lab.assert_clean();
}

/// A request with a ClientHello of its own kind is answered without a jail and allowed in it.
fn assert_hello_is_read(arguments: &[&str]) {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let act: Vec<_> = ["hello", "a.test:443", "--name", "a.test"].iter().chain(arguments).collect();
    let twin = lab.outside().probe(&act).exits(0).report();
    assert_eq!(twin["seen"]["status"], 200, "without a jail: {twin}");
    let allowed = lab.jail().js("r.host === 'a.test'").probe(&act).exits(0);
    assert_eq!(allowed.report()["seen"]["status"], 200, "{allowed:?}");
    assert_eq!(allowed.log, ["+ GET https://a.test/hello"]);
    let denied = lab.jail().probe(&act).exits(0);
    assert_eq!(denied.report()["seen"]["status"], 403, "{denied:?}");
    assert_eq!(a.seen().len(), 2, "the twin's and the allowed one");
    lab.assert_clean();
}

#[test]
fn reads_a_hello_in_a_few_segments() {
    assert_hello_is_read(&["--split", "3"]);
}

#[test]
fn reads_a_hello_byte_by_byte() {
    assert_hello_is_read(&["--split", "bytes"]);
}

#[test]
fn reads_a_hello_longer_than_a_record() {
    assert_hello_is_read(&["--pad", "20000"]);
}

#[test]
fn takes_the_name_of_the_synthetic_address_without_sni() {
    assert_hello_is_read(&["--sni", "no"]);
}

#[test]
fn takes_the_address_as_the_name_without_sni() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let target = format!("{}:443", a.v4());
    let act = ["hello", &target, "--sni", "no"];
    assert_eq!(lab.outside().probe(act).exits(0).report()["seen"]["status"], 200);
    let jailed = lab.jail().js(&format!("r.host === '{}'", a.v4())).probe(act).exits(0);
    assert_eq!(jailed.report()["seen"]["status"], 200, "{jailed:?}");
    assert_eq!(jailed.log, [format!("+ GET https://{}/hello", a.v4())]);
    lab.assert_clean();
}

#[test]
fn refuses_a_host_that_is_not_the_sni() {
    let lab = Lab::new();
    let (a, b) = (lab.origin("a.test"), lab.origin("b.test"));
    let act = ["hello", "a.test:443", "--name", "a.test", "--host", "b.test"];
    assert_eq!(lab.outside().probe(act).exits(0).report()["seen"]["status"], 200);
    let jailed = lab.jail().js("true").probe(act).exits(0);
    assert_eq!(jailed.report()["seen"]["status"], 421, "{jailed:?}");
    assert_eq!(jailed.log.len(), 1, "{jailed:?}");
    assert!(jailed.log[0].starts_with("- "), "{jailed:?}");
    assert_eq!((a.seen().len(), b.seen().len()), (1, 0), "the twin's alone");
    lab.assert_clean();
}

#[test]
fn dials_what_the_rule_saw_and_not_where_the_client_went() {
    let lab = Lab::new();
    let (a, b) = (lab.origin("a.test"), lab.origin("b.test"));
    let to_b = format!("a.test:80:{}:80", b.v4());
    let arguments = ["--connect-to", &to_b, "http://a.test/"];
    assert_eq!(status(&lab.outside(), &arguments), "200");
    assert_eq!((a.seen().len(), b.seen().len()), (0, 1), "without a jail it goes to b");
    assert_eq!(status(&lab.jail().js("r.host === 'a.test'"), &arguments), "200");
    assert_eq!((a.seen().len(), b.seen().len()), (1, 1), "in the jail to what was judged");
    lab.assert_clean();
}

#[test]
fn shows_the_peer_that_the_program_asked_for() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    for target in [format!("{}:80", a.v4()), format!("[{}]:80", a.v6())] {
        let act = ["tcp", &target, "--mark", "GET / HTTP/1.0\r\n\r\n"];
        assert_eq!(lab.outside().probe(act).exits(0).report()["seen"]["peer"], *target);
        assert_eq!(lab.jail().probe(act).exits(0).report()["seen"]["peer"], *target);
    }
    lab.assert_clean();
}

#[test]
fn judges_each_request_of_a_kept_connection() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let urls = ["http://a.test/yes", "http://a.test/no", "http://a.test/yes"];
    let curl: Vec<_> = ["curl", "-sS", "-w", "%{http_code} %{num_connects}\\n"]
        .into_iter()
        .chain(urls.iter().flat_map(|url| ["-o", "/dev/null", url]))
        .collect();
    let outside = lab.outside().run(&curl).exits(0);
    assert_eq!(outside.stdout, "200 1\n200 0\n200 0\n", "one connection for all");
    let jailed = lab.jail().js("r.path === '/yes'").run(&curl).exits(0);
    assert_eq!(jailed.stdout, "200 1\n403 0\n200 0\n");
    assert_eq!(a.seen().iter().filter(|seen| seen.target == "/no").count(), 1, "the twin's");
    lab.assert_clean();
}

#[test]
fn passes_bodies_both_ways() {
    let lab = Lab::new();
    let a = lab.origin_with("a.test", |seen| http::Response::new(seen.body.clone().into()));
    let script = "head -c 1000000 /dev/zero | tr '\\0' x > sent &&
        curl -sS --data-binary @sent -o got https://a.test/ && cmp sent got && echo same";
    assert_eq!(lab.outside().sh(script).exits(0).stdout, "same\n");
    let jailed = lab.jail().js("r.method === 'POST'").sh(script).exits(0);
    assert_eq!(jailed.stdout, "same\n");
    assert_eq!(jailed.log, ["+ POST https://a.test/"]);
    assert_eq!(a.seen().len(), 2);
    lab.assert_clean();
}

/// The proxy is stopped meanwhile, so the connection is over before it is accepted.
#[test]
fn judges_a_request_whose_client_closed_before_it_was_accepted() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let client = format!(
        "import socket
client = socket.create_connection(('{}', 80))
client.sendall(b'GET /quick HTTP/1.1\\r\\nHost: a.test\\r\\n\\r\\n')
client.close()",
        a.v4()
    );
    let script = format!("echo ready; read go; python3 -c \"{client}\"; echo closed; read end");
    for rule in ["false", "true"] {
        let mut twin = lab.outside().start(["sh", "-c", &script]);
        twin.write("go\n");
        twin.line("closed");
        let mut jail = lab.jail().js(rule).start(["sh", "-c", &script]);
        jail.line("ready");
        let proxy = jail.proxy();
        kill_process(proxy, Signal::STOP).expect("a living process");
        jail.write("go\n");
        jail.line("closed");
        kill_process(proxy, Signal::CONT).expect("a stopped process");
        jail.logged("GET http://a.test/quick");
        jail.write("end\n");
        let jailed = jail.finish().exits(0);
        let sign = if rule == "true" { "+" } else { "-" };
        assert_eq!(jailed.log, [format!("{sign} GET http://a.test/quick")]);
        twin.finish();
    }
    lab.assert_clean();
}
