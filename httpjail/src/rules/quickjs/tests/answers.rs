//! What a rule's answers mean.

use super::*;

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
            Decision::Allow(Limits { max_tx_bytes: Some(limit), opaque: Opaque::Refused }),
            "{source}"
        );
    }
}

#[test]
fn allows_bytes_that_nobody_reads_only_in_so_many_words() {
    for (source, max_tx_bytes) in [
        ("({allow: {tcp: true}})", None),
        ("({allow: {tcp: true, max_tx_bytes: 7}})", Some(7)),
        ("r.scheme === 'https' && {allow: {max_tx_bytes: 7, tcp: true}}", Some(7)),
    ] {
        let limits = Limits { max_tx_bytes, opaque: Opaque::Allowed };
        assert_eq!(judge(source), Decision::Allow(limits), "{source}");
    }
}

/// A plain allowance covers requests, and TLS that an option let pass; never plain bytes.
#[test]
fn an_allowance_of_requests_opens_no_connection() {
    for source in ["true", "'true'", "({allow: true})", "({allow: {max_tx_bytes: 7}})"] {
        let decision = judge(source);
        for scheme in [Scheme::Http, Scheme::Https, Scheme::Tls] {
            assert_eq!(decision.clone().held_to(scheme), decision, "{source}");
        }
        let denied = Decision::Deny(Denial::new(DenyReason::NotForTcp));
        assert_eq!(decision.held_to(Scheme::Tcp), denied, "{source}");
    }
    let allowed = judge("({allow: {tcp: true}})");
    assert_eq!(allowed.clone().held_to(Scheme::Tcp), allowed);
    assert_eq!(deny(None).held_to(Scheme::Tcp), deny(None));
}

#[test]
fn silent_clients_are_asked_about_where_the_rule_knows_tcp() {
    assert!(engine("r.scheme === 'tcp' && {allow: {tcp: true}}").may_open_tcp());
    assert!(!engine("r.host === 'a.test'").may_open_tcp());
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
        "({allow: {tcp: false}})",
        "({allow: {tcp: 1}})",
        "({allow: {tcp: 'true'}})",
        "({allow: {tcp: true, udp: true}})",
        "({allow: {tcp: false, max_tx_bytes: 10}})",
        "({allow: {tcp: true, max_tx_bytes: -1}})",
        "({allow: {tcp: true, max_tx_bytes: undefined}})",
        "({allow: {get tcp() { return true }}})",
        "({allow: Object.create({tcp: true})})",
        "({allow: {get max_tx_bytes() { return 10 }}})",
        "({deny_message: 5})",
        "({toString() { return 'true' }, valueOf() { return true }})",
        "({then(f) { f(true) }})",
    ] {
        assert_eq!(judge(source), failed(None), "{source}");
    }
}

#[test]
fn an_early_return_takes_a_function() {
    for (source, decision) in [
        ("(() => { if (r.host) return true; return false })()", ALLOW),
        ("(function () { if (r.port === 8443) return 'no'; return true })()", deny(Some("no"))),
        ("const judge = () => { return r.method === 'POST' }; judge()", ALLOW),
    ] {
        assert_eq!(judge(source), decision, "{source}");
    }
    assert!(Js::compile("--js", "return true").is_err());
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
