//! That no request tells the next one anything.

use super::{super::Replaced, *};
use crate::rules::{RuleError, RuleSource};

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

#[test]
fn another_rule_takes_the_place_of_the_one_there_was() {
    let rule = Js::compile("rule.js", "r.method === 'POST'").expect("the rule compiles");
    let mut engines = [rule.engine(), rule.clone().engine()];
    let mut decide = || engines.each_mut().map(|engine| engine.decide(&facts()));
    let replace = |text| rule.replace(RuleSource::new("rule.js", text));
    assert_eq!(decide(), [ALLOW; 2]);
    assert!(matches!(replace("'no'"), Ok(Replaced::New)));
    assert_eq!(decide(), [deny(Some("no")), deny(Some("no"))]);
    assert!(matches!(replace("'no'"), Ok(Replaced::Same)));
    assert!(matches!(replace("r.method ==="), Err(RuleError::Syntax { line: 1, .. })));
    assert_eq!(decide(), [deny(Some("no")), deny(Some("no"))]);
    assert!(matches!(replace("({allow: {tcp: true}})"), Ok(Replaced::New)));
    assert!(engines.iter().all(|engine| engine.may_open_tcp()));
    assert_eq!(rule.engine().decide(&facts()), engines[0].decide(&facts()));
}
