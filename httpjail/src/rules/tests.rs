//! The same answers, given by every engine, mean the same.

use super::{Js, Program, answer, programs};
use crate::policy::{Decision, Denial, DenyReason, EngineFactory, Limits, Opaque, RequestFacts};

/// What an answer comes to.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Allowed(Limits),
    /// By the rule, with this message.
    Denied(Option<&'static str>),
    /// It proves nothing.
    Nothing,
}

use Meaning::{Allowed, Denied, Nothing};

const REQUESTS: Limits = Limits { max_tx_bytes: None, opaque: Opaque::Refused };

const fn bytes(most: u64) -> Meaning {
    Allowed(Limits { max_tx_bytes: Some(most), opaque: Opaque::Refused })
}

const fn opaque(max_tx_bytes: Option<u64>) -> Meaning {
    Allowed(Limits { max_tx_bytes, opaque: Opaque::Allowed })
}

/// Answers that are JSON and, in brackets, JavaScript.
const TABLE: [(&str, Meaning); 43] = [
    ("true", Allowed(REQUESTS)),
    ("false", Denied(None)),
    (r#""true""#, Allowed(REQUESTS)),
    (r#"" true\n""#, Allowed(REQUESTS)),
    (r#""false""#, Denied(None)),
    (r#""""#, Denied(None)),
    (r#""TRUE""#, Denied(Some("TRUE"))),
    (r#""ask me first""#, Denied(Some("ask me first"))),
    (r#"{"allow":true}"#, Allowed(REQUESTS)),
    (r#"{"allow":true,"deny_message":"ignored"}"#, Allowed(REQUESTS)),
    (r#"{"allow":true,"reason":"mine"}"#, Allowed(REQUESTS)),
    (r#"{"allow":false}"#, Denied(None)),
    (r#"{"allow":false,"deny_message":"why"}"#, Denied(Some("why"))),
    (r#"{"allow":false,"deny_message":5}"#, Denied(None)),
    (r#"{"deny_message":"why"}"#, Denied(Some("why"))),
    (r#"{"deny_message":5}"#, Nothing),
    (r#"{"allow":{"max_tx_bytes":0}}"#, bytes(0)),
    (r#"{"allow":{"max_tx_bytes":1024}}"#, bytes(1024)),
    (r#"{"allow":{"max_tx_bytes":1e3}}"#, bytes(1000)),
    (r#"{"allow":{"max_tx_bytes":9007199254740991}}"#, bytes((1 << 53) - 1)),
    (r#"{"allow":{"max_tx_bytes":9007199254740992}}"#, Nothing),
    (r#"{"allow":{"max_tx_bytes":-1}}"#, Nothing),
    (r#"{"allow":{"max_tx_bytes":1.5}}"#, Nothing),
    (r#"{"allow":{"max_tx_bytes":"10"}}"#, Nothing),
    (r#"{"allow":{"max_tx_bytes":null}}"#, Nothing),
    (r#"{"allow":{"max_tx_bytes":10,"max_rx_bytes":10}}"#, Nothing),
    (r#"{"allow":{"tcp":true}}"#, opaque(None)),
    (r#"{"allow":{"tcp":true,"max_tx_bytes":7}}"#, opaque(Some(7))),
    (r#"{"allow":{"tcp":false}}"#, Nothing),
    (r#"{"allow":{"tcp":1}}"#, Nothing),
    (r#"{"allow":{"tcp":true,"udp":true}}"#, Nothing),
    (r#"{"allow":{}}"#, Nothing),
    (r#"{"allow":[]}"#, Nothing),
    (r#"{"allow":1}"#, Nothing),
    (r#"{"allow":"true"}"#, Nothing),
    (r#"{"allow":null}"#, Nothing),
    (r#"{"allow":null,"deny_message":"why"}"#, Nothing),
    ("{}", Nothing),
    ("[]", Nothing),
    ("[true]", Nothing),
    ("null", Nothing),
    ("0", Nothing),
    ("1", Nothing),
];

fn assert_means(decision: &Decision, meaning: &Meaning, engine: &str, text: &str) {
    let is_so = match (decision, meaning) {
        (Decision::Allow(limits), Allowed(expected)) => limits == expected,
        (Decision::Deny(Denial { reason, message }), Denied(expected)) => {
            *reason == DenyReason::Rule && message.as_deref() == *expected
        }
        (Decision::Deny(denial), Nothing) => denial.reason == DenyReason::RuleFailed,
        _ => false,
    };
    assert!(is_so, "{engine}: {text} gave {decision:?} and not {meaning:?}");
}

fn facts() -> RequestFacts {
    programs::tests::facts("/")
}

#[test]
fn in_javascript() {
    for (text, meaning) in &TABLE {
        for source in [format!("({text})"), format!("JSON.parse({text:?})")] {
            let mut engine = Js::compile("--js", &source).unwrap().engine();
            assert_means(&engine.decide(&facts()), meaning, "--js", &source);
        }
    }
}

/// A program that answers each line with `$ANSWER`, in which `#` stands for the id.
fn answering(text: &str) -> Decision {
    const ECHO: &str = r#"while read -r line; do
        id=${line#*:}; id=${id%%,*}
        printf '%s%s%s\n' "${ANSWER%%#*}" "${ANSWER:+$id}" "${ANSWER#*#}"; done"#;
    const PLAIN: &str = r#"while read -r line; do printf '%s\n' "$ANSWER"; done"#;
    let script = if text.contains('#') { ECHO } else { PLAIN };
    let command = shell_words::join(["/bin/sh", "-c", script]);
    let program = Program::lines(command.as_ref()).unwrap();
    let program = program.with_environment(vec![("ANSWER".into(), text.into())]);
    programs::tests::Served::new(program).decide(facts())
}

#[test]
fn in_lines() {
    for (text, meaning) in &TABLE {
        assert_means(&answering(text), meaning, "--proc", text);
    }
}

#[test]
fn in_lines_with_an_id() {
    for (text, meaning) in &TABLE {
        let Some(fields) = text.strip_prefix('{') else { continue };
        let separator = if fields == "}" { "" } else { "," };
        let tagged = format!("{{\"id\":#{separator}{fields}");
        assert_means(&answering(&tagged), meaning, "--proc", &tagged);
    }
}

/// What only a program can say.
#[test]
fn in_lines_that_are_no_json() {
    for (text, meaning) in [
        ("not now", Denied(Some("not now"))),
        ("TRUE", Denied(Some("TRUE"))),
        ("true false", Denied(Some("true false"))),
        ("  true ", Allowed(REQUESTS)),
        ("'true'", Denied(Some("'true'"))),
        ("{allow: true}", Nothing),
        ("{\"allow\":true", Nothing),
        ("[", Nothing),
    ] {
        assert_means(&answering(text), &meaning, "--proc", text);
        let read =
            answer::read_text(text).unwrap_or(Decision::Deny(Denial::new(DenyReason::RuleFailed)));
        assert_means(&read, &meaning, "the table", text);
    }
}

/// A script says what can be said without JSON.
#[test]
fn by_exit_status() {
    for (text, meaning) in &TABLE {
        let script = match meaning {
            Allowed(limits) if *limits == REQUESTS => "exit 0".to_owned(),
            Denied(message) => format!("echo '{}'; exit 1", message.unwrap_or_default()),
            Allowed(_) | Nothing => continue,
        };
        let program = Program::script(script.as_ref()).unwrap();
        let decision = programs::tests::Served::new(program).decide(facts());
        assert_means(&decision, meaning, "--sh", text);
    }
}
