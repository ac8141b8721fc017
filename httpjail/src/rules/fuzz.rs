//! What the reading of a rule's answer promises for any value that JSON can write.

use std::{cell::RefCell, time::UNIX_EPOCH};

use http::Version;
use serde_json::Value;

use super::Js;
use crate::policy::{
    Authority, Decision, EngineFactory, Headers, Host, Limits, Opaque, RequestFacts, RuleEngine,
    Scheme,
};

/// The largest whole number that has no other next to it.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

thread_local! {
    /// Answers whatever the query of the request says.
    static ENGINE: RefCell<Box<dyn RuleEngine>> = RefCell::new({
        Js::compile("--js", "JSON.parse(r.query)").expect("the rule compiles").engine()
    });
}

/// Holds an answer to allow just what it is proven to allow, by another reader of JSON.
pub fn rule_result(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    // What the other reader doesn't take proves nothing here.
    let Ok(value) = serde_json::from_str::<Value>(text) else { return };
    let decision = ENGINE.with_borrow_mut(|engine| engine.decide(&facts(text)));
    match proven(&value) {
        Proof::Allows(limits) => assert_eq!(decision, Decision::Allow(limits), "{text}"),
        Proof::Denies => assert!(matches!(decision, Decision::Deny(_)), "{text}: {decision:?}"),
        Proof::Unknown => {}
    }
}

enum Proof {
    Allows(Limits),
    Denies,
    /// The two readers may round differently.
    Unknown,
}

fn proven(value: &Value) -> Proof {
    let unlimited = Proof::Allows(Limits::default());
    match value {
        Value::Bool(true) => unlimited,
        Value::String(text) if text.trim() == "true" => unlimited,
        Value::Object(object) => match object.get("allow") {
            Some(Value::Bool(true)) => unlimited,
            Some(Value::Object(limits)) => bounded(limits),
            Some(_) | None => Proof::Denies,
        },
        _ => Proof::Denies,
    }
}

fn bounded(limits: &serde_json::Map<String, Value>) -> Proof {
    let opaque = match limits.get("tcp") {
        None => Opaque::Refused,
        Some(Value::Bool(true)) => Opaque::Allowed,
        Some(_) => return Proof::Denies,
    };
    let bytes = limits.get("max_tx_bytes");
    let known = usize::from(opaque == Opaque::Allowed) + usize::from(bytes.is_some());
    if known == 0 || limits.len() != known {
        return Proof::Denies;
    }
    match bytes {
        None => Proof::Allows(Limits { max_tx_bytes: None, opaque }),
        Some(Value::Number(number)) => match number.as_u64() {
            Some(bytes) if bytes <= MAX_SAFE_INTEGER => {
                Proof::Allows(Limits { max_tx_bytes: Some(bytes), opaque })
            }
            Some(_) => Proof::Denies,
            None => Proof::Unknown,
        },
        Some(_) => Proof::Denies,
    }
}

fn facts(query: &str) -> RequestFacts {
    RequestFacts {
        method: "GET".to_owned(),
        scheme: Scheme::Https,
        authority: Authority::new(Host::parse("a.test").expect("a host"), 443),
        path: "/".to_owned(),
        query: Some(query.to_owned()),
        protocol: Some(Version::HTTP_11),
        headers: Headers::default(),
        requester: [127, 0, 0, 1].into(),
        process: None,
        time: UNIX_EPOCH,
    }
}
