//! `--weak`: a command that is told of the proxy by its environment, run by a plain user.

use std::fs;

use httpjail_tests::{Invocation, Lab, USER_UID, echo_websocket};
use rustix::process::Signal;

const CODE: &str = "curl -sS -o /dev/null -w '%{http_code} '";
const RULE: &str = "r.host === 'a.test'";

/// A script that asks for each of these and prints the codes of the answers.
fn codes(urls: &str) -> String {
    format!("for url in {urls}; do {CODE} $url; done")
}

#[test]
fn judges_http_and_https_with_one_record_for_each_request() {
    let lab = Lab::new();
    let (a, b) = (lab.origin("a.test"), lab.origin("b.test"));
    let script = codes("http://a.test/1 https://a.test/2 http://b.test/3 https://b.test/4");
    assert_eq!(lab.outside().sh(&script).exits(0).stdout, "200 200 200 200 ");
    let weak = lab.weak().js(RULE).sh(&script).exits(0);
    assert_eq!(weak.stdout, "200 200 403 403 ");
    let records = [
        "+ GET http://a.test/1",
        "+ GET https://a.test/2",
        "- GET http://b.test/3",
        "- GET https://b.test/4",
    ];
    assert_eq!(weak.log, records);
    assert_eq!((a.seen().len(), b.seen().len()), (4, 2));
    lab.assert_clean();
}

#[test]
fn says_in_one_line_that_nothing_forces_a_program() {
    let lab = Lab::new();
    let weak = lab.weak().run(["true"]).exits(0);
    let lines: Vec<_> = weak.stderr.lines().collect();
    let says = "programs are told of the proxy by their environment; nothing forces them to use it";
    assert!(matches!(lines[..], [one] if one.ends_with(says)), "{weak:?}");
    // And so it is.
    let a = lab.origin("a.test");
    let weak = lab.weak().sh(&format!("{CODE} --noproxy '*' http://a.test/")).exits(0);
    assert_eq!((&*weak.stdout, a.seen().len()), ("200 ", 1));
    assert!(weak.log.is_empty());
    lab.assert_clean();
}

/// Rules about methods and paths hold for what is asked for inside a tunnel, and the tunnel has no
/// record of its own.
#[test]
fn judges_the_requests_in_a_tunnel_and_not_the_tunnel() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let rule = "r.method === 'GET' && r.path.startsWith('/public/')";
    let script = format!(
        "{CODE} https://a.test/public/x; {CODE} https://a.test/private; \
         {CODE} -d x https://a.test/public/x"
    );
    assert_eq!(lab.outside().sh(&script).exits(0).stdout, "200 200 200 ");
    let weak = lab.weak().js(rule).sh(&script).exits(0);
    assert_eq!(weak.stdout, "200 403 403 ");
    let records = [
        "+ GET https://a.test/public/x",
        "- GET https://a.test/private",
        "- POST https://a.test/public/x",
    ];
    assert_eq!(weak.log, records);
    assert_eq!(a.seen().len(), 4);
    lab.assert_clean();
}

#[test]
fn keeps_the_port_that_a_tunnel_is_for() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let weak = lab.weak().js("r.port === 8443").sh(&codes("https://a.test:8443/ https://a.test/"));
    assert_eq!(weak.exits(0).stdout, "200 403 ");
    assert_eq!(a.seen()[0].port, 8443);
    lab.assert_clean();
}

#[test]
fn carries_websockets_and_http_2() {
    let lab = Lab::new();
    lab.raw_origin("a.test", echo_websocket);
    let b = lab.origin("b.test");
    // websockets 10 takes no proxy by itself.
    let program = "import asyncio, os, socket, websockets
from urllib.parse import urlparse
async def main():
    proxy = urlparse(os.environ[\"https_proxy\"])
    tunnel = socket.create_connection((proxy.hostname, proxy.port))
    tunnel.sendall(b\"CONNECT a.test:443 HTTP/1.1\\r\\nHost: a.test:443\\r\\n\\r\\n\")
    assert tunnel.recv(9999).startswith(b\"HTTP/1.1 200 \")
    async with websockets.connect(\"wss://a.test/ws\", sock=tunnel, server_hostname=\"a.test\") as ws:
        await ws.send(\"ping\"); print(await ws.recv())
asyncio.run(main())";
    let script = format!(
        "/usr/bin/python3 -c '{program}' &&
            curl -sS --http2 -o /dev/null -w '%{{http_version}} %{{http_code}}' https://b.test/"
    );
    let weak = lab.weak().js("true").sh(&script).exits(0);
    assert_eq!(weak.stdout, "ping\n2 200", "{weak:?}");
    assert_eq!(weak.log, ["+ GET https://a.test/ws", "+ GET https://b.test/"]);
    assert_eq!(b.seen()[0].version, http::Version::HTTP_2);
    lab.assert_clean();
}

/// The leaf is for the address, so that the client's own check of it passes.
#[test]
fn serves_addresses_in_place_of_names() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    for host in [a.v4().to_string(), format!("[{}]", a.v6())] {
        let url = format!("https://{host}/");
        let weak = lab.weak().js("true").run(["curl", "-sSfg", &*url]).exits(0);
        assert_eq!(weak.log, [format!("+ GET {url}")]);
    }
    lab.assert_clean();
}

/// They read what they are told of by themselves.
#[test]
fn clients_find_the_proxy_and_trust_the_authority() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let urllib = "import urllib.request as u; u.urlopen(\"https://a.test/\").read()";
    let requests = "import requests; requests.get(\"https://a.test/\").raise_for_status()";
    let go = "package main
import \"net/http\"
func main() {
    reply, err := http.Get(\"https://a.test/\")
    if err != nil || reply.StatusCode != 200 { panic(err) }
}";
    std::fs::write(lab.home().join("get.go"), go).expect("the home is there");
    for client in [
        "curl -sSf -o /dev/null https://a.test/",
        "wget -q -O /dev/null https://a.test/",
        "git ls-remote https://a.test/ || true",
        &format!("/usr/bin/python3 -c '{urllib}'"),
        &format!("/usr/bin/python3 -c '{requests}'"),
        "GOCACHE=$PWD/cache GOPATH=$PWD/go go run get.go",
    ] {
        let before = a.seen().len();
        let weak = lab.weak().js(RULE).sh(client).exits(0);
        assert!(weak.log[0].starts_with("+ GET https://a.test/"), "{client}: {weak:?}");
        assert_eq!(weak.log.len(), a.seen().len() - before, "{client}: {weak:?}");
    }
    lab.assert_clean();
}

#[test]
fn works_in_pipelines_and_below_other_programs() {
    let lab = Lab::new();
    lab.origin("a.test");
    let httpjail = lab.httpjail();
    let weak = format!(
        "{} --weak --js true --upstream-ca {} --",
        httpjail.display(),
        lab.ca_file().display()
    );
    let makefile = format!("all: one two\none two:\n\t@{weak} curl -sS https://a.test/$@\n");
    std::fs::write(lab.home().join("Makefile"), makefile).expect("the home is there");
    for (script, output, code) in [
        (format!("echo through | {weak} cat | tr a-z A-Z"), "THROUGH\n", 0),
        (format!("{weak} sh -c 'cat; echo end' <&-"), "end\n", 0),
        (format!("{weak} sh -c 'yes; exit 7' | head -n 1"), "y\n", 0),
        ("make -s -j2".to_owned(), "hello from a.test\nhello from a.test\n", 0),
        (format!("timeout 1 {weak} sleep 1000"), "", 124),
        // Ends that the caller wants to hear nothing of, and a child that it had before.
        (format!("trap '' CHLD; exec {weak} sh -c 'exit 3'"), "", 3),
        (format!("(sleep 1; echo lives) & exec {weak} true"), "lives\n", 0),
        (format!("{weak} {weak} curl -sS https://a.test/"), "hello from a.test\n", 0),
    ] {
        let place = lab.outside().as_user().env("TMPDIR", lab.temporary());
        let ended = place.sh(&script).exits(code);
        assert_eq!(ended.stdout, output, "{script}: {ended:?}");
    }
    lab.assert_clean();
}

#[test]
fn a_broad_rule_opens_no_special_addresses() {
    let lab = Lab::new();
    lab.origin("a.test");
    lab.set_name("inside.test", &["127.0.0.1".parse().expect("an address")]);
    let script = "for host in 127.0.0.1:1 169.254.169.254 inside.test '[::1]:22'; do
        curl -sS --noproxy '' -o /dev/null -w '%{http_code} ' http://$host/
        curl -sS -o /dev/null -w '%{http_code} ' -H \"Host: $host\" http://a.test/; done";
    let weak = lab.weak().js("true").sh(script).exits(0);
    // A Host that isn't the URL's is refused before anything else.
    assert_eq!(weak.stdout, "502 400 ".repeat(4), "{weak:?}");
    lab.assert_clean();
}

#[test]
fn appends_to_what_needs_no_proxy() {
    let lab = Lab::new();
    let script = "echo $NO_PROXY $no_proxy; curl -sS http://127.0.0.1:1/ http://localhost:1/";
    let weak = lab.weak().env("NO_PROXY", "corp.test").sh(script);
    let list = "corp.test,localhost,127.0.0.1,::1";
    assert_eq!(weak.stdout, format!("{list} {list}\n"));
    assert_eq!(weak.code, Some(7), "the connection itself is refused: {weak:?}");
    assert!(weak.log.is_empty());
    lab.assert_clean();
}

#[test]
fn a_request_to_the_proxy_itself_ends_in_a_clear_refusal() {
    let lab = Lab::new();
    let script = "for way in '--noproxy *' '--noproxy localhost' '-p --noproxy localhost'; do
        curl -sS $way $http_proxy/; done";
    let weak = lab.weak().js("true").option("--allow-private").sh(script);
    assert_eq!(weak.stdout.matches("Loop detected").count(), 2, "{weak:?}");
    assert_eq!(weak.log.len(), 3, "{weak:?}");
    lab.assert_clean();
}

#[test]
fn passes_exit_codes_and_streams_through() {
    let lab = Lab::new();
    for (script, code) in [
        ("exit 0", 0),
        ("exit 42", 42),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
    ] {
        lab.weak().sh(script).exits(code);
    }
    // One that nobody is kept from searching.
    let weak = lab.weak().env("PATH", "/usr/bin:/bin");
    let missing = weak.run(["no-such-command"]).exits(127);
    assert!(missing.stderr.contains("no-such-command"), "{missing:?}");
    lab.weak().run(["/etc/passwd"]).exits(126);
    let mut weak = lab.weak().start(["sh", "-c", "cat; echo \"$@\"", "sh", "-x", "--", "a b"]);
    weak.write("through\n");
    weak.close_stdin();
    assert_eq!(weak.finish().exits(0).stdout, "through\n-x -- a b\n");
    lab.assert_clean();
}

#[test]
fn works_where_there_are_no_cgroups_to_see() {
    let lab = Lab::new();
    lab.origin("a.test");
    let script = format!(
        "unshare -m sh -c \"mount -t tmpfs none /sys && exec setpriv --reuid={USER_UID} \
         --clear-groups --bounding-set=-all {} --weak --js true --upstream-ca {} -- \
         curl -sSf https://a.test/\"",
        lab.httpjail().display(),
        lab.ca_file().display()
    );
    let weak = lab.outside().env("TMPDIR", lab.temporary()).sh(&script).exits(0);
    assert_eq!(weak.stdout, "hello from a.test\n", "{weak:?}");
    lab.assert_clean();
}

#[test]
fn tells_the_user_behind_sudo() {
    let lab = Lab::new();
    lab.origin("a.test");
    let script = "id -u; curl -sSf https://a.test/";
    let jail = lab.jail().as_user().option("--weak").js("true").sh(script).exits(0);
    assert_eq!(jail.stdout, format!("{USER_UID}\nhello from a.test\n"), "{jail:?}");
    lab.assert_clean();
}

/// Whatever the command has started ends with it, wherever that went.
const DAEMON: &str = "setsid sh -c 'sleep 1000 & wait' < /dev/null > /dev/null 2>&1 & \
    until pgrep -U $(id -u) -x sleep > /dev/null; do :; done; echo ready;";

#[test]
fn the_timeout_ends_all_that_was_started() {
    let lab = Lab::new();
    let script = format!("{DAEMON} exec sleep 1000");
    let weak = lab.weak().option("--timeout").option("2").sh(&script).exits(124);
    assert_eq!(weak.stdout, "ready\n");
    lab.assert_clean();
}

#[test]
fn the_end_of_the_command_ends_all_that_was_started() {
    let lab = Lab::new();
    let weak = lab.weak().sh(&format!("{DAEMON} exit 3")).exits(3);
    assert_eq!(weak.stdout, "ready\n");
    lab.assert_clean();
}

#[test]
fn passes_signals_on() {
    let lab = Lab::new();
    let weak = lab.weak().start([
        "sh",
        "-c",
        "trap 'exit 9' TERM; echo ready; while :; do read line; done",
    ]);
    weak.line("ready");
    weak.signal(Signal::TERM);
    weak.finish().exits(9);
    let weak = lab.weak().start(["sh", "-c", "echo ready; exec sleep 1000"]);
    weak.line("ready");
    weak.signal(Signal::TERM);
    weak.finish().exits(143);
    lab.assert_clean();
}

#[test]
fn a_killed_httpjail_takes_the_command_and_the_proxy_with_it() {
    let lab = Lab::new();
    let weak = lab.weak().start(["sh", "-c", "echo ready; exec sleep 1000"]);
    weak.line("ready");
    weak.signal(Signal::KILL);
    assert_eq!(weak.finish().signal, Some(9));
    // The next run removes its folder.
    assert_eq!(fs::read_dir(lab.temporary()).expect("it is there").count(), 1);
    lab.weak().run(["true"]).exits(0);
    lab.assert_clean();
}

#[test]
fn a_proxy_that_died_ends_the_command() {
    let lab = Lab::new();
    let weak = lab.weak().start([
        "sh",
        "-c",
        "echo ready; pkill -KILL -x httpjail-proxy -P $PPID; sleep 1000",
    ]);
    weak.line("ready");
    let ended = weak.finish().exits(125);
    assert!(ended.stderr.contains("without the proxy"), "{ended:?}");
    lab.assert_clean();
}

fn looks_at(invocation: &Invocation<'_>, pid: &str) -> String {
    let script = format!(
        "{{ sleep 1000 & }} 2> /dev/null; until grep -qx sleep /proc/$!/comm; do :; done; pid={pid}
        cat /proc/$pid/comm
        cat /proc/$pid/environ > /dev/null 2>&1 && echo environ
        ls /proc/$pid/fd > /dev/null 2>&1 && echo descriptors
        head -c 0 /proc/$pid/mem > /dev/null 2>&1 && echo memory
        timeout 30 gdb -batch -nx -p $pid 2>&1 | grep -q 'Operation not permitted' || echo traced
        kill $!"
    );
    invocation.sh(&script).exits(0).stdout
}

#[test]
fn the_command_cannot_look_into_the_proxy() {
    let lab = Lab::new();
    let twin = looks_at(&lab.weak(), "$!");
    assert_eq!(twin, "sleep\nenviron\ndescriptors\nmemory\ntraced\n", "a program like others");
    let proxy = "$(pgrep -x httpjail-proxy -P $PPID)";
    assert_eq!(looks_at(&lab.weak(), proxy), "httpjail-proxy\n");
    assert_eq!(looks_at(&lab.weak(), "$PPID"), "httpjail\n");
    lab.assert_clean();
}

#[test]
fn programs_of_other_users_are_not_served() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let mut weak = lab.weak().js("true").start(["sh", "-c", "echo at $http_proxy; read line"]);
    let line = weak.line("at ");
    let proxy = line.trim_start_matches("at ");
    let ask = format!("curl -sS -x {proxy} http://a.test/");
    // The same user's, outside.
    assert_eq!(lab.outside().as_user().sh(&ask).exits(0).stdout, "hello from a.test\n");
    let other = format!("setpriv --reuid=54321 --clear-groups {ask}");
    let refused = lab.outside().sh(&other);
    // Reset, which curl sees while it connects or later.
    assert!(matches!(refused.code, Some(7 | 56)), "{refused:?}");
    assert_eq!(a.seen().len(), 1);
    weak.write("end\n");
    assert_eq!(weak.finish().exits(0).log, ["+ GET http://a.test/"]);
    lab.assert_clean();
}

#[test]
fn listens_where_the_environment_says() {
    let lab = Lab::new();
    lab.origin("a.test");
    let weak = lab.weak().js("true").env("HTTPJAIL_HTTP_BIND", "8123");
    let weak = weak.env("HTTPJAIL_HTTPS_BIND", "127.0.0.1:8124");
    let script = "echo $http_proxy $https_proxy; curl -sSf http://a.test/ https://a.test/";
    let hello = "hello from a.test\n";
    let told = "http://127.0.0.1:8123 http://127.0.0.1:8124\n";
    assert_eq!(weak.sh(script).exits(0).stdout, format!("{told}{hello}{hello}"));
    let wrong = lab.weak().env("HTTPJAIL_HTTP_BIND", "nowhere").run(["true"]).exits(2);
    assert!(wrong.stderr.contains("HTTPJAIL_HTTP_BIND"), "{wrong:?}");
    lab.assert_clean();
}

#[test]
fn refuses_the_options_of_a_jail() {
    let lab = Lab::new();
    for option in ["--strict", "--publish=80", "--allow-unix=/run/x", "--allow-new-privileges"] {
        let refused = lab.weak().option(option).run(["true"]).exits(2);
        assert!(refused.stderr.contains("--weak"), "{refused:?}");
    }
}
