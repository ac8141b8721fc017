//! What happens to rules that go wild, or aren't rules.

use std::time::{Duration, Instant};

use super::*;
use crate::rules::RuleError;

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
