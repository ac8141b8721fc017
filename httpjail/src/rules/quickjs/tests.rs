//! What a rule may answer, what it can see, and that it can do no more.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use super::Js;
use crate::{
    policy::{
        Authority, Decision, Denial, DenyReason, EngineFactory, Host, Limits, Process,
        ProcessInspector, RequestFacts, RuleEngine, Scheme,
    },
    rules::RuleError,
};

fn facts() -> RequestFacts {
    RequestFacts {
        method: "POST".to_owned(),
        scheme: Scheme::Https,
        authority: Authority::new(Host::parse("api.github.com").expect("a host"), 8443),
        path: "/repos/a b".to_owned(),
        query: Some("q=1&r=2".to_owned()),
        requester: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1)),
        process: Some(Process { pid: 42, uid: 1000, comm: "curl".to_owned() }),
    }
}

/// What this process runs can't be found out.
const UNKNOWN: u32 = 99;

struct Known;

impl ProcessInspector for Known {
    fn executable(&self, pid: u32) -> io::Result<Option<String>> {
        match pid {
            42 => Ok(Some("/usr/bin/curl".to_owned())),
            UNKNOWN => Err(io::Error::other("nobody answers")),
            _ => Ok(None),
        }
    }
}

fn engine(source: &str) -> Box<dyn RuleEngine> {
    let rule = Js::compile("--js", source).expect("the rule compiles");
    rule.with_inspector(Arc::new(Known)).engine()
}

fn judge(source: &str) -> Decision {
    engine(source).decide(&facts())
}

const ALLOW: Decision = Decision::Allow(Limits { max_tx_bytes: None });

fn deny(message: Option<&str>) -> Decision {
    Decision::Deny(Denial { reason: DenyReason::Rule, message: message.map(str::to_owned) })
}

fn failed(message: Option<&str>) -> Decision {
    Decision::Deny(Denial { reason: DenyReason::RuleFailed, message: message.map(str::to_owned) })
}

fn threw() -> Decision {
    failed(Some("JavaScript execution failed"))
}

#[test]
fn allows_what_is_a_proven_allowance() {
    for source in [
        "true",
        "'true'",
        "' true\\n'",
        "'tr' + 'ue'",
        "({allow: true})",
        "({allow: true, deny_message: 'ignored'})",
        "const hosts = ['api.github.com']; hosts.includes(r.host)",
        "new (class { allow = true })",
    ] {
        assert_eq!(judge(source), ALLOW, "{source}");
    }
}

#[test]
fn allows_with_a_limit() {
    for (source, limit) in [
        ("({allow: {max_tx_bytes: 0}})", 0),
        ("({allow: {max_tx_bytes: 1024}})", 1024),
        ("({allow: {max_tx_bytes: 2 ** 53 - 1}})", (1 << 53) - 1),
    ] {
        assert_eq!(
            judge(source),
            Decision::Allow(Limits { max_tx_bytes: Some(limit) }),
            "{source}"
        );
    }
}

#[test]
fn denies_with_the_rules_own_message() {
    for (source, message) in [
        ("false", None),
        ("'false'", None),
        ("' false '", None),
        ("''", None),
        ("'no ' + r.host", Some("no api.github.com")),
        ("'TRUE'", Some("TRUE")),
        ("'\\ud800 lone'", Some("\u{fffd} lone")),
        ("({allow: false})", None),
        ("({allow: false, deny_message: 'why'})", Some("why")),
        ("({allow: false, deny_message: 5})", None),
        ("({deny_message: 'why'})", Some("why")),
    ] {
        assert_eq!(judge(source), deny(message), "{source}");
    }
}

#[test]
fn denies_what_proves_nothing() {
    for source in [
        "",
        "undefined",
        "null",
        "0",
        "1",
        "NaN",
        "1n",
        "Symbol('true')",
        "({})",
        "[]",
        "[true]",
        "() => true",
        "new Boolean(true)",
        "new String('true')",
        "new Map([['allow', true]])",
        "/true/",
        "new Error('true')",
        "Object.assign(new Error('x'), {allow: true})",
        "Object.assign([], {allow: true})",
        "Object.assign(new Date, {allow: true})",
        "({allow: Object.assign([], {max_tx_bytes: 1})})",
        "Object.assign(() => true, {allow: true})",
        "(async () => true)()",
        "Promise.resolve(true)",
        "Object.assign(Promise.resolve(true), {allow: true})",
        "({get allow() { return true }})",
        "Object.create({allow: true})",
        "({allow: 1})",
        "({allow: 'true'})",
        "({allow: null, deny_message: 'x'})",
        "({allow: {}})",
        "({allow: {max_tx_bytes: -1}})",
        "({allow: {max_tx_bytes: 1.5}})",
        "({allow: {max_tx_bytes: NaN}})",
        "({allow: {max_tx_bytes: Infinity}})",
        "({allow: {max_tx_bytes: 2 ** 53}})",
        "({allow: {max_tx_bytes: 10n}})",
        "({allow: {max_tx_bytes: '10'}})",
        "({allow: {max_tx_bytes: 10, max_rx_bytes: 10}})",
        "({allow: {get max_tx_bytes() { return 10 }}})",
        "({deny_message: 5})",
        "({toString() { return 'true' }, valueOf() { return true }})",
        "({then(f) { f(true) }})",
    ] {
        assert_eq!(judge(source), failed(None), "{source}");
    }
}

#[test]
fn denies_when_the_rule_throws() {
    for source in [
        "throw new Error('x')",
        "throw null",
        "throw {toString() { throw 1 }}",
        "undeclared",
        "undeclared = 1; true",
        "r.process.missing.more",
        "new Proxy({allow: true}, {})",
        "import('x')",
        "require('fs')",
        "std.exit(0)",
        "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)",
    ] {
        let decision = judge(source);
        assert!(
            matches!(&decision, Decision::Deny(denial) if denial.reason == DenyReason::RuleFailed),
            "{source}: {decision:?}"
        );
    }
}

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
        ("Object.keys(r).join()", "'url,method,scheme,host,path,requester_ip,port,query,process'"),
        ("JSON.parse(JSON.stringify(r)).process.exe", "'/usr/bin/curl'"),
        ("Object.keys(JSON.parse(JSON.stringify(r))).join()", "Object.keys(r).join()"),
        ("Object.keys(r.process).join()", "'pid,uid,comm,exe'"),
        ("[r, r.process].every(Object.isFrozen)", "true"),
        ("r === globalThis.r && r === (0, eval)('r') && r.process === r.process", "true"),
        ("(() => { const { url, process: { comm } } = r; return url + comm })()", "r.url + 'curl'"),
    ] {
        assert_eq!(judge(&format!("{expression} === {value}")), ALLOW, "{expression}");
    }
}

#[test]
fn shows_what_is_missing_as_null() {
    let mut engine = engine(
        "r.query === null && r.process === null && r.url === 'https://api.github.com:8443/repos/a b'",
    );
    let facts = RequestFacts { query: None, process: None, ..facts() };
    assert_eq!(engine.decide(&facts), ALLOW);
    let mut engine = self::engine("r.query === '' && r.process.exe === null");
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
        "delete r.process.pid",
        "Object.defineProperty(r, 'host', {value: 'x'})",
        "Object.defineProperty(globalThis, 'r', {value: 1})",
        "Object.setPrototypeOf(r, {})",
    ] {
        assert_eq!(judge(source), threw(), "{source}");
    }
}

/// Each source is a place where a rule could keep a number; the rule answers with how often it
/// believes to have been asked.
#[test]
fn no_state_is_carried_over() {
    for place in [
        "globalThis",
        "Object",
        "Object.prototype",
        "Array.prototype",
        "Function.prototype",
        "String.prototype.trim",
        "Map.prototype",
        "Math",
        "JSON",
        "console",
        "console.log",
        "r",
        "r.process",
        "Object.getOwnPropertyDescriptor(globalThis, 'r').get",
        "Object.getOwnPropertyDescriptor(r, 'url').get",
        "Object.getOwnPropertyDescriptor(r, 'requester_ip').get",
        "Object.getOwnPropertyDescriptor(r, 'process').get",
        "Object.getOwnPropertyDescriptor(r, 'process').get.prototype ?? r",
        "Object.getOwnPropertyDescriptor(r.process, 'exe').get",
        "Reflect",
        "Intl",
        "Symbol.iterator.constructor",
        "Error",
        "Object.getPrototypeOf(Int8Array)",
        "Object.getPrototypeOf(function* () {})",
        "Object.getPrototypeOf((function* () {}).prototype)",
        "Object.getPrototypeOf(async () => 1)",
        "Object.getPrototypeOf(async function* () {})",
        "Object.getPrototypeOf((async function* () {}).prototype)",
        "Object.getPrototypeOf([][Symbol.iterator]())",
        "Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()))",
        "Object.getPrototypeOf(new Map().entries())",
        "Object.getPrototypeOf(new Set().values())",
        "Object.getPrototypeOf(''[Symbol.iterator]())",
        "Object.getPrototypeOf('a'.matchAll(/a/g))",
        "Object.getPrototypeOf([].values().map(x => x))",
        "Object.getPrototypeOf(Iterator.from({next() {}}))",
        "Object.getPrototypeOf(Iterator.concat?.([]) ?? {})",
        "Object.getPrototypeOf(Iterator.zip?.([[1]]) ?? {})",
        "Object.getOwnPropertyDescriptor((function () { return arguments })(), 'callee').get ?? {}",
        "((a) => a)`x`.constructor",
        "((strings) => strings)`x`",
        "(() => import.meta).constructor",
    ] {
        let source = format!(
            "let n = 1; try {{ const o = {place}; o.n = (o.n ?? 0) + 1; n = o.n }} catch {{}} String(n)"
        );
        let Ok(rule) = Js::compile("--js", &source) else { continue };
        let mut engine = rule.engine();
        for _ in 0..3 {
            assert_eq!(engine.decide(&facts()), deny(Some("1")), "{place}");
        }
    }
}

#[test]
fn everything_within_reach_is_frozen() {
    let walk = "
        const seen = new Set(), soft = [];
        const waiting = [
          ['r', r], ['process', r.process], ['global', globalThis], ['generator', function* () {}.prototype],
          ['', Object.getPrototypeOf(async function* () {})], ['', Object.getPrototypeOf([].values())],
        ];
        while (waiting.length > 0) {
          const [name, object] = waiting.pop();
          if (Object(object) !== object || seen.has(object)) continue;
          seen.add(object);
          if (!Object.isFrozen(object) && name !== 'generator') soft.push(name);
          waiting.push([name + '.__proto__', Object.getPrototypeOf(object)]);
          for (const key of Reflect.ownKeys(object)) {
            const { value, get, set } = Object.getOwnPropertyDescriptor(object, key);
            const inner = name + '.' + String(key);
            waiting.push([inner, value], [inner + '#get', get], [inner + '#set', set]);
          }
        }
        soft.length === 0 && seen.size > 500 ? 'frozen' : seen.size + ' ' + soft.join()";
    assert_eq!(judge(walk), deny(Some("frozen")));
}

#[test]
fn no_state_is_carried_over_by_roundabout_ways() {
    for source in [
        // Setters that write into the engine.
        "let n = 1; try { n = Error.stackTraceLimit === 10 ? 1 : 2; Error.stackTraceLimit = 11 } catch {} String(n)",
        "let n = 1; try { n = Error.prepareStackTrace ? 2 : 1; Error.prepareStackTrace = () => 1 } catch {} String(n)",
        // Global declarations of sloppy code.
        "let n; try { (0, eval)('var n = (globalThis.n ?? 0) + 1'); n = globalThis.n } catch { n = 1 } String(n)",
        "try { Function('n = 1')() } catch {} String(globalThis.n ?? 1)",
        "let n; try { (0, eval)('let q = 1') } catch {} try { n = (0, eval)('q') + 1 } catch { n = 1 } String(n)",
        // Private fields on frozen objects: their names are made anew.
        "class S extends (function (o) { return o }) { #n; static has(o) { return #n in o } } \
         let n = S.has(globalThis) ? 2 : 1; try { new S(globalThis) } catch {} String(n)",
        // A promise that looks for the next request.
        "let n = 1; Promise.resolve().then(() => { n = 2 }); String(n)",
        "let own = r.path; let n = 1; (async () => { for (let i = 0; i < 100; i++) await 0; own = 'late' })(); own === '/repos/a b' ? '1' : '2'",
        // The registry of symbols.
        "const s = Symbol.for('n'); let n = 1; try { s.n = 1; n = s.n ? 2 : 1 } catch {} String(n)",
        // An answer of one request for the next.
        "let n = 1; try { n = r.kept ? 2 : 1; r.kept = r } catch {} String(n)",
        "let n = 1; try { const old = r; r = { ...old, kept: true }; n = r.kept ? 2 : 1 } catch {} String(n)",
        // A template's strings are one object for the life of the code: frozen.
        "const t = (s => s)`x`; let n = 1; try { t.raw.n = 1; n = t.raw.n ? 2 : 1 } catch {} String(n)",
    ] {
        let mut engine = engine(source);
        for _ in 0..3 {
            assert_eq!(engine.decide(&facts()), deny(Some("1")), "{source}");
        }
    }
}

/// The rule goes wild on `/wild` and allows everything else.
fn recovers(wild: &str) {
    let source = format!("if (r.path === '/wild') {{ {wild} }} r.path !== '/wild'");
    let mut engine = engine(&source);
    let wild_facts = RequestFacts { path: "/wild".to_owned(), ..facts() };
    for _ in 0..2 {
        let start = Instant::now();
        let decision = engine.decide(&wild_facts);
        let took = start.elapsed();
        assert!(matches!(&decision, Decision::Deny(_)), "{wild}: {decision:?}");
        assert!(took < Duration::from_secs(5), "{wild}: {took:?}");
        assert_eq!(engine.decide(&facts()), ALLOW, "{wild}");
    }
}

#[test]
fn a_rule_that_loops_is_denied_and_the_next_request_works() {
    for wild in [
        "while (true);",
        "for (;;) { try { for (;;); } catch {} finally { continue } }",
        "(async () => { for (;;) await 0 })()",
        "(function f() { Promise.resolve().then(f) })()",
        "/(a+)+$/.test('a'.repeat(64) + 'b')",
        "throw { toString() { for (;;); } }",
        "({ then() {}, toJSON() { for (;;); } })",
        "[...(function* () { for (;;) yield 1 })()]",
        "Array.from({ length: 2 ** 32 })",
    ] {
        recovers(wild);
    }
}

#[test]
fn a_rule_that_eats_memory_is_denied_and_the_next_request_works() {
    for wild in [
        "const a = []; for (;;) a.push(new Array(1000).fill(0))",
        "let s = 'x'; for (;;) s += s",
        "'x'.repeat(2 ** 29).split('')",
        "new ArrayBuffer(2 ** 30)",
        "new SharedArrayBuffer(2 ** 30)",
        "const a = []; try { for (;;) a.push('x'.repeat(1000) + a.length) } catch { for (;;) a.push({}) }",
        "(function f() { f() })()",
        "let o = {}; for (;;) o = { o }",
        "JSON.parse('['.repeat(1000000))",
        "throw 'x'.repeat(50000000)",
    ] {
        recovers(wild);
    }
}

#[test]
fn nothing_piles_up() {
    let mut engine = engine(
        "const a = { b: 'x'.repeat(10000) }; a.a = a; Promise.resolve(a).then(b => b); r.host === 'api.github.com'",
    );
    for _ in 0..30_000 {
        assert_eq!(engine.decide(&facts()), ALLOW);
    }
}

#[test]
fn names_the_place_of_a_syntax_error() {
    for (source, line, column) in [
        ("r.host ==== 'x'", 1, 11),
        ("true\nr.host === ", 2, 12),
        ("const x = 1;\n  const x = 2", 2, 11),
        ("return true", 1, 1),
        ("await r", 1, 7),
    ] {
        match Js::compile("rule.js", source) {
            Err(error @ RuleError::Syntax { line: l, column: c, .. }) => {
                assert_eq!((l, c), (line, column), "{source}: {error}");
                assert!(error.to_string().contains("rule.js at line"), "{error}");
            }
            other => panic!("{source}: {other:?}"),
        }
    }
    assert!(matches!(Js::compile("--js", "true\0false"), Err(RuleError::Nul { .. })));
}
