//! `--server`: the proxy alone, run by a plain user, and used by programs outside.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use httpjail_tests::{Invocation, Lab, Running, USER_UID};
use rustix::process::Signal;

const CODE: &str = "curl -sS -o /dev/null -w '%{http_code} '";
const RULE: &str = "r.host === 'a.test' && r.path !== '/EVIL'";
const NOTHING: [&str; 0] = [];

/// Starts a server, and waits until it serves.
fn start(server: &Invocation<'_>) -> Running {
    let server = server.start(NOTHING);
    server.error_line("programs must trust");
    server
}

/// The place that it says to serve at for requests by `http` or by `https`.
fn place(server: &Running, variable: &str) -> String {
    let line = server.error_line(&format!("{variable}=http://"));
    line.rsplit_once("http://").expect("it is there").1.to_owned()
}

/// Ends a server in good order, and gives its records.
fn end(server: Running) -> Vec<String> {
    server.signal(Signal::TERM);
    server.finish().exits(0).log
}

fn authority(lab: &Lab) -> PathBuf {
    lab.home().join(".config/httpjail/ca-cert.pem")
}

/// A client outside that trusts the server's authority alone.
fn client(lab: &Lab) -> Invocation<'_> {
    lab.outside().env("CURL_CA_BUNDLE", authority(lab))
}

#[test]
fn serves_every_kind_of_client_on_either_port() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let server = start(&lab.server().js(RULE));
    for port in [8080, 8443] {
        let proxy = format!("127.0.0.1:{port}");
        // Whole URLs, tunnels to TLS and in the clear, paths with a Host, and TLS by its server name.
        for options in [
            format!("-x {proxy} http://a.test/"),
            format!("-x {proxy} https://a.test/"),
            format!("-p -x {proxy} http://a.test:8080/"),
            format!("--connect-to a.test:80:{proxy} http://a.test/"),
            format!("--connect-to a.test:443:{proxy} https://a.test/"),
            format!("--http2-prior-knowledge --connect-to a.test:80:{proxy} http://a.test/"),
        ] {
            let before = a.seen().len();
            let script = format!("{CODE} {options}; {CODE} {options}EVIL");
            let answers = client(&lab).sh(&script).exits(0);
            assert_eq!(answers.stdout, "200 403 ", "{options}: {answers:?}");
            assert_eq!(a.seen().len(), before + 1, "{options}");
        }
    }
    // The port is that of the URL, which is the proxy's own here.
    let resolved = format!("{CODE} --resolve a.test:8443:127.0.0.1 https://a.test:8443/");
    assert_eq!(client(&lab).sh(&resolved).exits(0).stdout, "200 ");
    assert_eq!(a.seen().last().map(|seen| seen.port), Some(8443));
    let log = end(server);
    assert_eq!(log.len(), 2 * 6 * 2 + 1, "one record for each: {log:?}");
    assert_eq!(log[..2], ["+ GET http://a.test/", "- GET http://a.test/EVIL"]);
    lab.assert_clean();
}

#[test]
fn listens_where_the_environment_says() {
    let lab = Lab::new();
    lab.origin("a.test");
    for (http, places, is_bare) in [
        ("", "127.0.0.1:8080", false),
        ("127.0.0.2:8100", "127.0.0.2:8100", false),
        ("127.0.0.2", "127.0.0.2:8080", false),
        ("[::1]:8100", "[::1]:8100", false),
        ("::1", "[::1]:8080", false),
        ("8100", "127.0.0.1:8100", true),
        (":8100", "127.0.0.1:8100", true),
        ("0.0.0.0:8100", "0.0.0.0:8100", false),
    ] {
        let server = start(&lab.server().js(RULE).env("HTTPJAIL_HTTP_BIND", http));
        assert_eq!(place(&server, "HTTP_PROXY"), places, "{http}");
        assert_eq!(place(&server, "HTTPS_PROXY"), "127.0.0.1:8443");
        let ask = format!("{CODE} -g -x {places} http://a.test/");
        assert_eq!(client(&lab).sh(&ask).exits(0).stdout, "200 ", "{http}");
        server.signal(Signal::TERM);
        let ended = server.finish().exits(0);
        assert_eq!(ended.stderr.contains("a port alone means 127.0.0.1"), is_bare, "{ended:?}");
        let warns = ended.stderr.contains("whoever can reach this address");
        assert_eq!(warns, http.starts_with("0.0.0.0"), "{ended:?}");
    }
    let server = start(
        &lab.server().env("HTTPJAIL_HTTP_BIND", "127.0.0.1:0").env("HTTPJAIL_HTTPS_BIND", ":0"),
    );
    assert!(!place(&server, "HTTP_PROXY").ends_with(":8080"));
    assert!(!place(&server, "HTTPS_PROXY").ends_with(":8443"));
    end(server);
    let wrong = lab.server().env("HTTPJAIL_HTTPS_BIND", "nowhere").start(NOTHING).finish().exits(2);
    assert!(wrong.stderr.contains("HTTPJAIL_HTTPS_BIND"), "{wrong:?}");
    lab.assert_clean();
}

#[test]
fn a_place_that_is_taken_is_told() {
    let lab = Lab::new();
    let server = start(&lab.server());
    let second = lab.server().start(NOTHING).finish().exits(125);
    assert!(second.stderr.contains("127.0.0.1:8080"), "{second:?}");
    assert!(second.stderr.contains("HTTPJAIL_HTTP_BIND"), "{second:?}");
    end(server);
    lab.assert_clean();
}

#[test]
fn special_addresses_and_its_own_are_refused() {
    let lab = Lab::new();
    lab.set_name("me.test", &["127.0.0.1".parse().expect("an address")]);
    let ask = |host: &str| {
        let script = format!("{CODE} -g --noproxy '' -x 127.0.0.1:8080 http://{host}/");
        client(&lab).sh(&script).exits(0).stdout
    };
    let server = start(&lab.server().js("true"));
    for host in ["127.0.0.1:1", "169.254.169.254", "[::1]", "10.0.0.1"] {
        assert_eq!(ask(host), "502 ", "{host}");
    }
    for host in ["127.0.0.1:8080", "localhost:8080", "me.test:8080", "127.0.0.1:8443"] {
        assert_eq!(ask(host), "508 ", "{host}");
    }
    end(server);
    // Whatever is opened, and wherever it listens.
    let server = lab.server().js("true").option("--allow-private");
    let server = start(&server.env("HTTPJAIL_HTTP_BIND", "0.0.0.0"));
    for host in ["127.0.0.1:8080", "127.0.0.2:8080", "me.test:8080", "127.0.0.1:8443"] {
        assert_eq!(ask(host), "508 ", "{host}");
    }
    let tunnel = "curl -sS -p --noproxy '' -x 127.0.0.1:8080 http://127.0.0.1:8080/";
    assert_ne!(client(&lab).sh(tunnel).code, Some(0));
    assert_eq!(end(server).len(), 5);
    lab.assert_clean();
}

/// The Host is no way to another place than the URL's.
#[test]
fn a_host_that_is_not_the_urls_is_refused() {
    let lab = Lab::new();
    let (a, b) = (lab.origin("a.test"), lab.origin("b.test"));
    let server = start(&lab.server().js("true"));
    for scheme in ["http", "https"] {
        let ask =
            format!("{CODE} --http1.1 -x 127.0.0.1:8080 -H 'Host: b.test' {scheme}://a.test/");
        let code = client(&lab).sh(&ask).exits(0).stdout;
        assert_eq!(code, if scheme == "http" { "400 " } else { "421 " });
    }
    assert_eq!((a.seen().len(), b.seen().len()), (0, 0));
    end(server);
    lab.assert_clean();
}

#[test]
fn a_hangup_has_the_rules_read_again() {
    let lab = Lab::new();
    lab.origin("a.test");
    let rule = lab.home().join("rule.js");
    let write = |text: &str| fs::write(&rule, text).expect("the lab's home is writable");
    write("false");
    let server = start(&lab.server().option("--js-file").option(&rule));
    let ask = format!("{CODE} -x 127.0.0.1:8080 https://a.test/");
    let code = || client(&lab).sh(&ask).exits(0).stdout;
    assert_eq!(code(), "403 ");
    write("r.host === 'a.test'");
    assert_eq!(code(), "403 ", "nobody said so");
    server.signal(Signal::HUP);
    server.error_line("another proxy serves");
    assert_eq!(code(), "200 ");
    write("r.host ===");
    server.signal(Signal::HUP);
    server.error_line("the rules stay as they were");
    assert_eq!(code(), "200 ");
    assert_eq!(end(server).len(), 4, "in one log");
    lab.assert_clean();
}

/// A client that has begun a request, and sends the rest when the test says so.
struct Slow(TcpStream);

impl Slow {
    fn begin(lab: &Lab) -> Self {
        let connect = || TcpStream::connect("127.0.0.1:8080").expect("it listens");
        let mut stream = lab.at_client(connect);
        let head =
            "POST http://a.test/slow HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbo";
        stream.write_all(head.as_bytes()).expect("it reads");
        Self(stream)
    }

    fn finish(mut self) -> String {
        self.0.write_all(b"dy").expect("it reads");
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).expect("it answers and ends");
        answer
    }
}

#[test]
fn a_request_that_is_under_way_at_the_end_is_answered() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let server = start(&lab.server().js(RULE));
    let slow = Slow::begin(&lab);
    server.logged("POST http://a.test/slow");
    server.signal(Signal::TERM);
    server.error_line("another signal ends it at once");
    // Nobody is served any more, once the proxy has heard of it.
    let refused = "until ! curl -sS -o /dev/null -x 127.0.0.1:8080 http://a.test/EVIL; do :; done";
    client(&lab).sh(refused).exits(0);
    let answer = slow.finish();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(server.finish().exits(0).log[0], "+ POST http://a.test/slow");
    assert_eq!(a.seen()[0].body, "body");
    lab.assert_clean();
}

#[test]
fn a_request_that_is_under_way_at_a_hangup_is_answered() {
    let lab = Lab::new();
    lab.origin("a.test");
    let server = start(&lab.server().js(RULE));
    let slow = Slow::begin(&lab);
    server.logged("POST http://a.test/slow");
    server.signal(Signal::HUP);
    server.error_line("another proxy serves");
    let answer = slow.finish();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    end(server);
    lab.assert_clean();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let lab = Lab::new();
    lab.origin("a.test");
    let server = start(&lab.server().js(RULE));
    let _slow = Slow::begin(&lab);
    server.logged("POST http://a.test/slow");
    server.signal(Signal::INT);
    server.error_line("another signal ends it at once");
    server.signal(Signal::INT);
    server.finish().exits(130);
    lab.assert_clean();
}

#[test]
fn its_authority_is_kept_and_its_key_is_the_users_alone() {
    let lab = Lab::new();
    lab.origin("a.test");
    let path = authority(&lab);
    let key = path.with_file_name("ca-key.pem");
    let mut certificates = Vec::new();
    for _ in 0..2 {
        let server = start(&lab.server().js(RULE));
        let told = server.error_line("programs must trust");
        assert!(told.contains(path.to_str().expect("UTF-8")), "{told}");
        let ask = format!("{CODE} -x 127.0.0.1:8080 https://a.test/");
        assert_eq!(client(&lab).sh(&ask).exits(0).stdout, "200 ");
        certificates.push(fs::read_to_string(&path).expect("it is there"));
        end(server);
    }
    assert_eq!(certificates[0], certificates[1]);
    let found = fs::metadata(&key).expect("it is there");
    assert_eq!((found.uid(), found.mode() & 0o777), (USER_UID, 0o600));
    let httpjail = lab.httpjail().into_os_string().into_string().expect("UTF-8");
    let ca = |form: &str| {
        let printed = lab.outside().as_user().sh(&format!("{httpjail} ca {form}")).exits(0);
        printed.stdout
    };
    assert_eq!(ca("--print"), certificates[0]);
    assert_eq!(ca("--path"), format!("{}\n", path.display()));
    let trust = lab.outside().as_user().sh(&format!("{httpjail} trust")).exits(1);
    assert!(trust.stdout.starts_with("✗ "), "{trust:?}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("it is there");
    let exposed = lab.server().start(NOTHING).finish().exits(125);
    assert!(exposed.stderr.contains("isn't this user's alone"), "{exposed:?}");
    lab.assert_clean();
}

/// The key of an authority that the jailed user keeps is out of the jail's sight.
#[test]
fn a_jailed_command_cannot_read_the_key_of_its_user() {
    let lab = Lab::new();
    let httpjail = lab.httpjail().into_os_string().into_string().expect("UTF-8");
    lab.outside().as_user().sh(&format!("{httpjail} ca")).exits(0);
    let key = authority(&lab).with_file_name("ca-key.pem");
    let read = ["cat", key.to_str().expect("UTF-8")];
    assert!(
        lab.outside().as_user().run(read).exits(0).stdout.contains("PRIVATE"),
        "without a jail"
    );
    let jailed = lab.jail().as_user().run(read);
    assert_eq!((jailed.code, &*jailed.stdout), (Some(1), ""), "{jailed:?}");
    let folder = key.parent().map(Path::to_owned).expect("it has one");
    let listed = lab.jail().as_user().run(["ls", "-A", folder.to_str().expect("UTF-8")]).exits(0);
    assert_eq!(listed.stdout, "");
    assert!(key.exists(), "for others it stays");
    lab.assert_clean();
}

#[test]
fn refuses_what_is_for_commands() {
    let lab = Lab::new();
    let refused = lab.server().start(["true"]).finish().exits(2);
    assert!(refused.stderr.contains("--server"), "{refused:?}");
    for option in ["--timeout=1", "--weak", "--strict", "--publish=80", "--keep-env=X"] {
        let refused = lab.server().option(option).start(NOTHING).finish().exits(2);
        assert!(refused.stderr.contains("--server"), "{refused:?}");
    }
}
