//! The one table of what a rule's answer means, whichever engine gave it. Whatever isn't a proven
//! allowance is a denial.

use serde_json::{Map, Value};

use crate::policy::{Decision, Denial, DenyReason, Limits, Opaque};

/// An answer by its shape, read from whatever the engine speaks.
#[derive(Debug)]
pub(super) enum Shape {
    /// `true` or `false`.
    Bool(bool),
    /// A text.
    Text(String),
    /// An object, by the two of its fields that count.
    Object {
        /// `allow`.
        allow: Allow,
        /// `deny_message`, where it is a text.
        deny_message: Option<String>,
    },
    /// Anything else.
    Other,
}

/// What stands at `allow`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allow {
    /// Nothing.
    Missing,
    /// `true` or `false`.
    Bool(bool),
    /// An object.
    Bounds {
        /// How many fields it has.
        size: usize,
        /// `max_tx_bytes`.
        max_tx_bytes: Field<f64>,
        /// `tcp`.
        tcp: Field<bool>,
    },
    /// Anything else.
    Other,
}

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<T> {
    /// It isn't there.
    Missing,
    /// It is of the type it should be.
    Is(T),
    /// It is something else.
    Other,
}

/// Reads an answer; `None` when it proves nothing.
pub(super) fn read(shape: Shape) -> Option<Decision> {
    match shape {
        Shape::Bool(true) => Some(allowed()),
        Shape::Bool(false) => Some(denied(None)),
        Shape::Text(text) => Some(from_text(text.trim())),
        Shape::Object { allow: Allow::Bool(true), deny_message: _ } => Some(allowed()),
        Shape::Object { allow: Allow::Bool(false), deny_message } => Some(denied(deny_message)),
        Shape::Object { allow: Allow::Missing, deny_message } => {
            deny_message.map(|message| denied(Some(message)))
        }
        Shape::Object { allow: Allow::Bounds { size, max_tx_bytes, tcp }, deny_message: _ } => {
            bounded(size, max_tx_bytes, tcp)
        }
        Shape::Object { allow: Allow::Other, deny_message: _ } | Shape::Other => None,
    }
}

/// Reads a value in JSON; `None` when it proves nothing.
pub(super) fn read_json(value: &Value) -> Option<Decision> {
    read(match value {
        Value::Bool(allow) => Shape::Bool(*allow),
        Value::String(text) => Shape::Text(text.clone()),
        Value::Object(object) => Shape::Object {
            allow: object.get("allow").map_or(Allow::Missing, json_allow),
            deny_message: object.get("deny_message").and_then(Value::as_str).map(str::to_owned),
        },
        Value::Null | Value::Number(_) | Value::Array(_) => Shape::Other,
    })
}

/// Reads a text that a program wrote; `None` when it proves nothing. What is JSON is read as such,
/// and what isn't and doesn't look like it is a text.
pub(super) fn read_text(text: &str) -> Option<Decision> {
    let text = text.trim();
    match serde_json::from_str(text) {
        Ok(value) => read_json(&value),
        Err(_) if text.starts_with(['{', '[']) => None,
        Err(_) => Some(from_text(text)),
    }
}

fn json_allow(value: &Value) -> Allow {
    match value {
        Value::Bool(allow) => Allow::Bool(*allow),
        Value::Object(bounds) => Allow::Bounds {
            size: bounds.len(),
            max_tx_bytes: field(bounds, "max_tx_bytes", Value::as_f64),
            tcp: field(bounds, "tcp", Value::as_bool),
        },
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => Allow::Other,
    }
}

fn field<T>(
    object: &Map<String, Value>,
    name: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Field<T> {
    match object.get(name) {
        None => Field::Missing,
        Some(value) => read(value).map_or(Field::Other, Field::Is),
    }
}

/// `{max_tx_bytes: N}`, `{tcp: true}` or both, and nothing else: a limit that is not understood
/// is not kept. `tcp: false` proves nothing: it may be how the rule says no.
fn bounded(size: usize, max_tx_bytes: Field<f64>, tcp: Field<bool>) -> Option<Decision> {
    let mut known = 0;
    let opaque = match tcp {
        Field::Missing => Opaque::Refused,
        Field::Is(true) => {
            known += 1;
            Opaque::Allowed
        }
        Field::Is(false) | Field::Other => return None,
    };
    let max_tx_bytes = match max_tx_bytes {
        Field::Missing => None,
        Field::Is(number) => {
            known += 1;
            Some(whole(number)?)
        }
        Field::Other => return None,
    };
    (known > 0 && size == known).then_some(Decision::Allow(Limits { max_tx_bytes, opaque }))
}

fn from_text(text: &str) -> Decision {
    match text {
        "true" => allowed(),
        "false" | "" => denied(None),
        message => denied(Some(message.to_owned())),
    }
}

/// A number that is exactly a count.
fn whole(number: f64) -> Option<u64> {
    let is_whole = (0.0..=MAX_SAFE_INTEGER).contains(&number) && number.fract() == 0.0;
    is_whole.then_some(number as u64)
}

fn allowed() -> Decision {
    Decision::Allow(Limits::default())
}

fn denied(message: Option<String>) -> Decision {
    Decision::Deny(Denial { reason: DenyReason::Rule, message })
}

/// Above this a number of JavaScript and of JSON may stand for more than one whole number.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
