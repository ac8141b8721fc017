//! What a rule's answer means. Whatever isn't a proven allowance is a denial.

use rquickjs::{Object, Result, Type, Value};

use super::sandbox::Kit;
use crate::policy::{Decision, Denial, DenyReason, Limits};

/// Reads the value of the rule's last expression; `None` when it proves nothing.
///
/// Objects are read by their own data properties alone, so no code of the rule runs here.
///
/// # Errors
///
/// When the engine fails, which means that it is out of memory.
pub(super) fn read<'js>(value: &Value<'js>, kit: &Kit<'js>) -> Result<Option<Decision>> {
    if let Some(allow) = value.as_bool() {
        return Ok(Some(if allow { allowed(None) } else { denied(None) }));
    }
    if value.is_string() {
        return Ok(Some(from_text(kit.text(value)?.trim())));
    }
    // Arrays, functions, promises, errors and proxies are types of their own.
    match value.as_object() {
        Some(object) if value.type_of() == Type::Object => from_object(object, kit),
        _ => Ok(None),
    }
}

fn from_text(text: &str) -> Decision {
    match text {
        "true" => allowed(None),
        "false" | "" => denied(None),
        message => denied(Some(message.to_owned())),
    }
}

fn from_object<'js>(object: &Object<'js>, kit: &Kit<'js>) -> Result<Option<Decision>> {
    let allow = kit.own(object, "allow")?;
    let message = kit.own(object, "deny_message")?;
    let message = if message.is_string() { Some(kit.text(&message)?) } else { None };
    match (allow.as_bool(), message) {
        (Some(true), _) => Ok(Some(allowed(None))),
        (Some(false), message) => Ok(Some(denied(message))),
        (None, Some(message)) if allow.is_undefined() => Ok(Some(denied(Some(message)))),
        (None, _) if allow.type_of() == Type::Object => match allow.as_object() {
            Some(limits) => from_limits(limits, kit),
            None => Ok(None),
        },
        (None, _) => Ok(None),
    }
}

/// `{max_tx_bytes: N}` and nothing else: a limit that is not understood is not kept.
fn from_limits<'js>(limits: &Object<'js>, kit: &Kit<'js>) -> Result<Option<Decision>> {
    if kit.size(limits)? != 1 {
        return Ok(None);
    }
    let bytes = kit.own(limits, "max_tx_bytes")?.as_number();
    Ok(bytes.and_then(whole).map(|bytes| allowed(Some(bytes))))
}

/// A number that is exactly a count.
fn whole(number: f64) -> Option<u64> {
    let is_whole = (0.0..=MAX_SAFE_INTEGER).contains(&number) && number.fract() == 0.0;
    is_whole.then_some(number as u64)
}

fn allowed(max_tx_bytes: Option<u64>) -> Decision {
    Decision::Allow(Limits { max_tx_bytes })
}

fn denied(message: Option<String>) -> Decision {
    Decision::Deny(Denial { reason: DenyReason::Rule, message })
}

/// Above this a JavaScript number may stand for more than one whole number.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
