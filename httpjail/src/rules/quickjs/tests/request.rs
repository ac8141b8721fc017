//! What a rule sees of a request.

use serde_json::Value;

use super::*;

#[test]
fn shows_the_request() {
    for (expression, value) in [
        ("r.url", "'https://api.github.com:8443/repos/a b?q=1&r=2'"),
        ("r.method", "'POST'"),
        ("r.scheme", "'https'"),
        ("r.host", "'api.github.com'"),
        ("r.path", "'/repos/a b'"),
        ("r.requester_ip", "'127.0.0.1'"),
        ("r.port", "8443"),
        ("r.query", "'q=1&r=2'"),
        ("r.process.pid", "42"),
        ("r.process.uid", "1000"),
        ("r.process.comm", "'curl'"),
        ("r.process.exe", "'/usr/bin/curl'"),
        ("r.process.ppid", "41"),
        ("r.process.argv.join('|')", "'curl|-sS|a b'"),
        ("r.protocol", "'HTTP/1.1'"),
        ("r.headers.accept", "'a/b, c/d'"),
        ("r.headers['cookie']", "'a=1'"),
        ("r.headers.Accept", "undefined"),
        ("r.headers.constructor", "undefined"),
        ("JSON.stringify(r.headers)", r#"'{"accept":"a/b, c/d","cookie":"a=1"}'"#),
        ("r.header('Accept')", "'a/b, c/d'"),
        ("r.header('x')", "null"),
        ("r.header('x y')", "null"),
        ("r.jail", "'0123abcd'"),
        ("r.time", "1700000000000"),
        ("new Date(r.time).toISOString()", "'2023-11-14T22:13:20.000Z'"),
        ("Object.keys(r).join()", FIELDS),
        ("JSON.parse(JSON.stringify(r)).process.exe", "'/usr/bin/curl'"),
        ("Object.keys(JSON.parse(JSON.stringify(r))).join()", "Object.keys(r).join()"),
        ("Object.keys(r.process).join()", "'pid,uid,comm,exe,ppid,argv'"),
        ("[r, r.process, r.process.argv, r.headers, r.header].every(Object.isFrozen)", "true"),
        ("r === globalThis.r && r === (0, eval)('r') && r.process === r.process", "true"),
        ("r.headers === r.headers", "true"),
        ("(() => { const { url, process: { comm } } = r; return url + comm })()", "r.url + 'curl'"),
    ] {
        assert_eq!(judge(&format!("{expression} === {value}")), ALLOW, "{expression}");
    }
}

const FIELDS: &str = "'url,method,scheme,host,path,requester_ip,port,query,process,protocol,headers,\
     jail,time'";

#[test]
fn shows_json_the_same() {
    let shown = told(judge("JSON.stringify(r)"));
    assert_eq!(shown, facts().to_json(&run()).expect("it can be looked up"));
    let without = RequestFacts { query: None, process: None, protocol: None, ..facts() };
    let mut engine = Js::compile("--js", "JSON.stringify(r)").expect("the rule compiles").engine();
    let shown = told(engine.decide(&without));
    assert_eq!(shown, without.to_json(&RunFacts::default()).expect("there is nothing to look up"));
    let process = Some(Process { pid: UNKNOWN, uid: 0, comm: String::new() });
    RequestFacts { process, ..facts() }.to_json(&run()).expect_err("it can't be looked up");
}

/// What the message of a denial says.
fn told(decision: Decision) -> Value {
    let Decision::Deny(Denial { message: Some(message), .. }) = decision else {
        panic!("{decision:?}");
    };
    serde_json::from_str(&message).expect("JSON")
}

#[test]
fn shows_fields_of_any_name_and_value() {
    let headers = headers(&[
        ("__proto__", b"p"),
        ("tostring", b"t"),
        ("7", b"n"),
        ("latin", b"caf\xe9"),
        ("empty", b""),
    ]);
    let facts = RequestFacts { headers, ..facts() };
    let shown = told(engine("JSON.stringify(r.headers)").decide(&facts));
    let expected = r#"{"7":"n","__proto__":"p","tostring":"t","latin":"caf\ufffd","empty":""}"#;
    assert_eq!(shown, serde_json::from_str::<Value>(expected).expect("JSON"));
    assert_eq!(engine("r.header('__PROTO__') === 'p'").decide(&facts), ALLOW);
    assert_eq!(engine("r.header('empty') === ''").decide(&facts), ALLOW);
    for source in ["r.header() === null", "r.header(7) === null", "r.header({}) === null"] {
        assert_eq!(engine(source).decide(&facts), threw(), "{source}");
    }
}

#[test]
fn holds_no_fields_after_the_decision() {
    let mut engine = engine("r.headers.accept === 'a/b, c/d'");
    let facts = facts();
    for _ in 0..2 {
        assert_eq!(engine.decide(&facts), ALLOW);
        assert!(facts.headers.is_held_once());
    }
}

#[test]
fn shows_what_is_missing_as_null() {
    let mut engine = engine(
        "r.query === null && r.process === null && r.url === 'https://api.github.com:8443/repos/a b'",
    );
    let facts = RequestFacts { query: None, process: None, ..facts() };
    assert_eq!(engine.decide(&facts), ALLOW);
    let mut engine = self::engine(
        "r.query === '' && [r.process.exe, r.process.ppid, r.process.argv].every(x => x === null)",
    );
    let process = Some(Process { pid: 43, uid: 0, comm: String::new() });
    assert_eq!(
        engine.decide(&RequestFacts { query: Some(String::new()), process, ..facts }),
        ALLOW
    );
}

#[test]
fn shows_each_request_and_not_the_one_before() {
    let mut engine = engine("r.path + (r.process === null ? '' : r.process.comm)");
    let with = RequestFacts { path: "/1".to_owned(), ..facts() };
    let without = RequestFacts { path: "/2".to_owned(), process: None, ..facts() };
    for _ in 0..2 {
        assert_eq!(engine.decide(&with), deny(Some("/1curl")));
        assert_eq!(engine.decide(&without), deny(Some("/2")));
    }
}

/// A process that has ended runs nothing; that is known. Not to know is another thing, and no
/// decision may rest on it.
#[test]
fn a_program_that_cannot_be_found_out_fails_the_rule() {
    for source in [
        "r.process.exe === null",
        "r.process.exe !== '/usr/bin/curl'",
        "let exe = null; try { exe = r.process.exe } catch {} exe === null",
        "try { JSON.stringify(r) } catch {} true",
        "let ppid = 1; try { ppid = r.process.ppid } catch {} ppid === 1",
        "try { r.process.argv } catch {} true",
        "try { r.process.exe } catch {} ({allow: {max_tx_bytes: 1}})",
        "console.log(r.process); true",
    ] {
        let mut engine = engine(source);
        for (pid, decision) in [(UNKNOWN, threw()), (42, judge(source)), (UNKNOWN, threw())] {
            let process = Some(Process { pid, uid: 1000, comm: "curl".to_owned() });
            let decided = engine.decide(&RequestFacts { process, ..facts() });
            assert_eq!(decided, decision, "{source}, process {pid}");
        }
    }
    let process = Some(Process { pid: 43, uid: 1000, comm: "curl".to_owned() });
    let ended = RequestFacts { process, ..facts() };
    assert_eq!(engine("r.process.exe === null").decide(&ended), ALLOW);
    // What a rule doesn't ask for can't fail it.
    let process = Some(Process { pid: UNKNOWN, uid: 1000, comm: "curl".to_owned() });
    let silent = RequestFacts { process, ..facts() };
    assert_eq!(engine("r.process.comm === 'curl'").decide(&silent), ALLOW);
}

#[test]
fn hosts_look_as_in_a_url() {
    for host in ["127.0.0.1", "[2001:db8::1]", "xn--bcher-kva.example"] {
        let authority = Authority::new(Host::parse(host).expect("a host"), 443);
        let facts = RequestFacts { authority, query: None, ..facts() };
        let source = "r.host + ' ' + r.url + ' ' + r.port";
        let shown = format!("{host} https://{host}/repos/a b 443");
        assert_eq!(engine(source).decide(&facts), deny(Some(&shown)));
    }
}

#[test]
fn shows_a_connection_as_a_whole() {
    for (scheme, method) in [(Scheme::Tcp, "TCP"), (Scheme::Tls, "TLS")] {
        let authority = Authority::new(Host::parse("db.test").expect("a host"), 443);
        let method = method.to_owned();
        let path = String::new();
        let facts = RequestFacts { method, scheme, authority, path, query: None, ..facts() };
        let source =
            "`${r.scheme} ${r.method} ${r.url} ${r.host} ${r.port} '${r.path}' ${r.query}`";
        let shown = format!("{scheme} {} {scheme}://db.test:443 db.test 443 '' null", facts.method);
        assert_eq!(engine(source).decide(&facts), deny(Some(&shown)));
    }
}

#[test]
fn keeps_text_as_it_is() {
    let mut engine = engine("r.path");
    for path in ["/ö€😀", "/\0x", "/\u{fffd}", "/%00%ff", "/\u{1b}[0m"] {
        let facts = RequestFacts { path: path.to_owned(), ..facts() };
        assert_eq!(engine.decide(&facts), deny(Some(path)));
    }
    let mut engine = self::engine("r.path.length === 1000000");
    assert_eq!(engine.decide(&RequestFacts { path: "/".repeat(1_000_000), ..facts() }), ALLOW);
}

#[test]
fn the_request_cannot_be_changed() {
    for source in [
        "r.host = 'x'",
        "r.url = 'x'",
        "r.more = 'x'",
        "r = {}",
        "globalThis.r = {}",
        "delete globalThis.r",
        "delete r.host",
        "r.process.comm = 'x'",
        "r.process.exe = 'x'",
        "r.process.argv[0] = 'x'",
        "r.process.argv.push('x')",
        "r.headers.accept = 'x'",
        "r.headers.more = 'x'",
        "delete r.headers.accept",
        "r.header.more = 'x'",
        "delete r.process.pid",
        "Object.defineProperty(r, 'host', {value: 'x'})",
        "Object.defineProperty(globalThis, 'r', {value: 1})",
        "Object.setPrototypeOf(r, {})",
    ] {
        assert_eq!(judge(source), threw(), "{source}");
    }
}
