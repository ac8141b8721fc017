//! Rules that fail deny, within their budget, and don't spoil the next request.

use httpjail_tests::{Finished, Lab};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

const TWO: &str = "for path in /bad /good; do
    curl -sS -o /dev/null -w '%{http_code} ' http://a.test$path; done";

/// The first request meets the failure, the second is decided as if nothing had been.
fn assert_denied_and_survived(failure: &str) -> Finished {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    assert_eq!(lab.outside().sh(TWO).exits(0).stdout, "200 200 ");
    let rule = format!("if (r.path === '/bad') {{ {failure} }} r.host === 'a.test'");
    let jailed = lab.jail().js(&rule).sh(TWO).exits(0);
    assert_eq!(jailed.stdout, "403 200 ", "{jailed:?}");
    assert_eq!(jailed.log, ["- GET http://a.test/bad", "+ GET http://a.test/good"]);
    assert_eq!(a.seen().len(), 3);
    lab.assert_clean();
    jailed
}

#[test]
fn a_rule_that_throws_denies() {
    let jailed = assert_denied_and_survived("throw new Error('no')");
    assert!(!jailed.stderr.is_empty(), "a warning is owed");
}

#[test]
fn a_rule_that_loops_denies() {
    assert_denied_and_survived("for (;;);");
}

#[test]
fn a_rule_that_eats_memory_denies() {
    assert_denied_and_survived(
        "const all = []; for (;;) all.push('x'.repeat(1 << 20) + all.length);",
    );
}

#[test]
fn a_rule_that_recurses_denies() {
    assert_denied_and_survived("(function again() { return again() + 1; })();");
}

#[test]
fn a_rule_whose_expression_explodes_denies() {
    assert_denied_and_survived("/^(a+)+$/.test('a'.repeat(64) + 'b');");
}

/// The built-in never looks at the clock, so only the watchdog ends the wait. The client's connection
/// is cut, for nobody is left who could answer.
#[test]
fn a_rule_that_hangs_in_a_builtin_denies() {
    const CUT_THEN_SERVED: &str = "curl -sS -o /dev/null http://a.test/bad; echo $?
        curl -sS -o /dev/null -w '%{http_code}' http://a.test/good";
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let rule = "r.path === '/bad' ? new Array(2 ** 32 - 1).join('') === '' : r.host === 'a.test'";
    let jailed = lab.jail().js(rule).sh(CUT_THEN_SERVED).exits(0);
    assert_eq!(jailed.stdout, "52\n200", "{jailed:?}");
    assert_eq!(jailed.log, ["- GET http://a.test/bad", "+ GET http://a.test/good"]);
    assert_eq!(a.seen().len(), 1);
    lab.assert_clean();
}

#[test]
fn only_a_proven_allow_allows() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "http://a.test/"];
    let denying =
        ["({})", "null", "undefined", "1", "Promise.resolve(true)", "(async () => true)()"];
    for rule in denying.into_iter().chain(["'yes'", "new Boolean(true)", "[true]", "({allow: 1})"])
    {
        let jailed = lab.jail().js(rule).run(curl).exits(0);
        assert_eq!(jailed.stdout, "403", "{rule}: {jailed:?}");
    }
    assert_eq!(a.seen().len(), 0);
    for rule in ["true", "'true'", "({allow: true})", "({allow: {max_tx_bytes: 100000}})"] {
        let jailed = lab.jail().js(rule).run(curl).exits(0);
        assert_eq!(jailed.stdout, "200", "{rule}: {jailed:?}");
    }
    lab.assert_clean();
}

#[test]
fn constants_at_top_level_are_new_for_each_request() {
    let lab = Lab::new();
    lab.origin("a.test");
    let rule = "const hosts = ['a.test']; let n = 0; n++; globalThis.seen ??= 0; hosts.includes(r.host) && n === 1";
    let jailed = lab.jail().js(rule).sh(TWO).exits(0);
    assert!(jailed.stdout == "200 200 " || jailed.stdout == "403 403 ", "no state: {jailed:?}");
    let rule = "const hosts = ['a.test']; let n = 0; n++; hosts.includes(r.host) && n === 1";
    assert_eq!(lab.jail().js(rule).sh(TWO).exits(0).stdout, "200 200 ");
    lab.assert_clean();
}

#[test]
fn shows_the_rules_message_to_the_client() {
    let lab = Lab::new();
    let curl = ["curl", "-sS", "http://a.test/"];
    for rule in ["({deny_message: 'ask me first'})", "'ask me first'"] {
        let jailed = lab.jail().js(rule).run(curl).exits(0);
        let lines: Vec<_> = jailed.stdout.lines().collect();
        assert_eq!(lines, ["Request blocked by httpjail", "ask me first"], "{jailed:?}");
    }
    lab.assert_clean();
}

#[test]
fn limits_what_a_request_may_send() {
    let lab = Lab::new();
    let a = lab.origin("a.test");
    let rule = "({allow: {max_tx_bytes: 1000}})";
    let script = "head -c 5000 /dev/zero > body
        curl -sS -o /dev/null -w '%{http_code} ' --data-binary @body http://a.test/long
        curl -sS -o /dev/null -w '%{http_code}' --data-binary short http://a.test/short
        curl -sS -o /dev/null -X POST -H 'Transfer-Encoding: chunked' -T - http://a.test/chunked < body
        true";
    assert_eq!(lab.outside().sh(script).exits(0).stdout, "200 200");
    assert_eq!(a.seen().iter().map(|seen| seen.body.len()).max(), Some(5000));
    let before = a.seen().len();
    let jailed = lab.jail().js(rule).sh(script).exits(0);
    assert_eq!(jailed.stdout, "413 200", "{jailed:?}");
    let inside = &a.seen()[before..];
    assert!(inside.iter().all(|seen| seen.target != "/long"), "{inside:?}");
    assert!(inside.iter().all(|seen| seen.body.len() <= 1000), "more than the limit got out");
    lab.assert_clean();
}

#[test]
fn knows_the_process_behind_a_request() {
    let lab = Lab::new();
    lab.origin("a.test");
    let rule =
        "r.process.comm === 'curl' && r.process.exe.endsWith('/curl') && r.process.uid === 12345";
    let jailed =
        lab.jail().as_user().js(rule).sh("curl -sS -o /dev/null -w '%{http_code}' http://a.test/
         wget -q -O /dev/null http://a.test/; echo \" $?\"");
    assert_eq!(jailed.stdout, "200 8\n", "{jailed:?}");
    lab.assert_clean();
}

#[test]
fn shows_header_fields_and_forwards_them() {
    const ASK: &str = "for v in 1.0 1.1 2; do
        case $v in 1.0) s=http;; *) s=https;; esac
        curl -sS -o /dev/null -w '%{http_code} ' --http$v $s://a.test/ \\
            -H 'X-Token: secret' -H 'accept: text/a' -H 'Accept: text/b' \\
            -H 'Cookie: a=1' -H 'X-Latin: caf'$(printf '\\351'); done";
    let lab = Lab::new();
    let a = lab.origin("a.test");
    assert_eq!(lab.outside().sh(ASK).exits(0).stdout, "200 200 200 ");
    let sees = "r.header('X-TOKEN') === 'secret' && r.headers['x-token'] === 'secret'
        && r.headers.accept === 'text/a, text/b' && r.header('cookie') === 'a=1'
        && r.headers['x-latin'] === 'caf\u{fffd}' && r.header('x-other') === null
        && ['HTTP/1.0', 'HTTP/1.1', 'HTTP/2'].includes(r.protocol)";
    let jailed = lab.jail().js(sees).sh(ASK).exits(0);
    assert_eq!(jailed.stdout, "200 200 200 ", "{jailed:?}");
    let inside = a.seen().split_off(3);
    let tokens = inside.iter().filter_map(|seen| seen.headers.get("x-token")).collect::<Vec<_>>();
    assert_eq!(tokens, ["secret"; 3], "{inside:?}");
    let version = "r.protocol === 'HTTP/1.0'";
    assert_eq!(lab.jail().js(version).sh(ASK).exits(0).stdout, "200 403 403 ");
    let token = "r.headers['x-token'] !== 'secret'";
    assert_eq!(lab.jail().js(token).sh(ASK).exits(0).stdout, "403 403 403 ");
    lab.assert_clean();
}

#[test]
fn knows_run_time_parent_and_arguments() {
    let lab = Lab::new();
    lab.origin("a.test");
    let script = "cp \"$(command -v curl)\" ') Z 1 ('
        ask() { \"$1\" -sS -o /dev/null -w '%{http_code} ' http://a.test/ -A \"a b\"; }
        ask curl; ask './) Z 1 ('; curl -sS -o /dev/null -w '%{http_code}' http://a.test/";
    assert_eq!(lab.outside().sh(script).exits(0).stdout, "200 200 200");
    let rule = "const { ppid, argv, pid } = r.process;
        ppid > 1 && ppid !== pid && /^[0-9a-f]{8}$/.test(r.jail)
        && Math.abs(Date.now() - r.time) < 60000
        && argv[0].endsWith(r.process.comm) && argv.slice(-2).join('|') === '-A|a b'";
    let jailed = lab.jail().as_user().js(rule).sh(script).exits(0);
    assert_eq!(jailed.stdout, "200 200 403", "{jailed:?}");
    lab.assert_clean();
}

#[test]
fn allows_and_denies_without_javascript() {
    const ASK: &str = "ask() { curl -sS --path-as-is -o /dev/null -w '%{http_code} ' \"$@\"; }
        for path in x public/x public/secret/x public/../admin public/%2e%2e/admin public%2fx
        do ask https://a.test/$path; done
        ask -X POST https://a.test/public/x
        for origin in a.test a.test:8080 b.test; do ask http://$origin/public/x; done";
    let lab = Lab::new();
    let (a, b) = (lab.origin("a.test"), lab.origin("b.test"));
    assert_eq!(lab.outside().sh(ASK).exits(0).stdout, "200 ".repeat(10));
    let (before_a, before_b) = (a.seen().len(), b.seen().len());
    let listed = || {
        let jail = lab.jail().option("--allow=GET,HEAD a.test/public/**");
        jail.option("--deny").option("**/public/secret/**")
    };
    let jailed = listed().sh(ASK).exits(0);
    assert_eq!(jailed.stdout, "403 200 403 403 403 403 403 200 403 403 ", "{jailed:?}");
    assert_eq!((a.seen().len() - before_a, b.seen().len() - before_b), (2, 0));
    let allowed = jailed.log.iter().filter(|line| line.starts_with('+')).collect::<Vec<_>>();
    assert_eq!(allowed, ["+ GET https://a.test/public/x", "+ GET http://a.test/public/x"]);

    // The rule is asked about the rest, and can't undo what the patterns say.
    let jailed = listed().js("r.host === 'b.test' || r.path.includes('secret')").sh(ASK).exits(0);
    assert_eq!(jailed.stdout, "403 200 403 403 403 403 403 200 403 200 ", "{jailed:?}");

    let told = listed().sh("curl -sS https://a.test/public/secret https://b.test").exits(0);
    let denied = "Request blocked by httpjail\ndenied by --deny '**/public/secret/**'";
    let unlisted = "Request blocked by httpjail\nno --allow is about this request";
    assert_eq!(told.stdout, format!("{denied}{unlisted}"), "{told:?}");
    lab.assert_clean();
}

#[test]
fn a_pattern_that_is_none_runs_nothing() {
    let lab = Lab::new();
    let jailed = lab.jail().option("--deny=GET a*.test").sh("echo ran").exits(2);
    assert_eq!(jailed.stdout, "");
    assert!(jailed.stderr.contains("column 6"), "{jailed:?}");
    lab.assert_clean();
}

#[test]
fn denies_what_rests_on_a_process_that_cannot_be_looked_up() {
    let lab = Lab::new();
    lab.origin("a.test");
    let ask = "ask() { curl -sS -o /dev/null -w '%{http_code} ' http://a.test$1; }; ask /asked; ask /free";
    assert_eq!(lab.outside().sh(ask).exits(0).stdout, "200 200 ");
    let rule = "r.path === '/free' || r.process.exe !== '/nowhere'";
    let script = format!("{ask}; echo ready; read go; ask /asked; ask /free; echo done");
    let mut jail = lab.jail().js(rule).start(["sh", "-c", &script]);
    jail.line("ready");
    // The supervisor can't answer now.
    jail.signal(Signal::STOP);
    let pid = Pid::from_raw(jail.pid().cast_signed()).expect("a process has a number");
    waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT).expect("it stops");
    jail.write("go\n");
    jail.line("done");
    jail.signal(Signal::CONT);
    let jailed = jail.finish().exits(0);
    assert_eq!(jailed.stdout, "200 200 ready\n403 200 done\n", "{jailed:?}");
    lab.assert_clean();
}

#[test]
fn refuses_a_rule_with_a_syntax_error_before_anything_runs() {
    let lab = Lab::new();
    let jailed = lab.jail().js("r.host ===").sh("echo ran").exits(2);
    assert_eq!(jailed.stdout, "");
    assert!(jailed.stderr.contains("line 1"), "{jailed:?}");
    lab.assert_clean();
}
