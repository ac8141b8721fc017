//! What a rule's answer means. Whatever isn't a proven allowance is a denial.

use rquickjs::{Ctx, Result, Value};

use super::object::{Class, Name, Ordinary};
use crate::policy::{Decision, Denial, DenyReason, Limits, Opaque};

/// Reads answers. It belongs to one runtime.
pub(super) struct Answers {
    ordinary: Class,
    allow: Name,
    deny_message: Name,
    max_tx_bytes: Name,
    tcp: Name,
}

impl Answers {
    /// Looks up the names that answers are made of.
    ///
    /// # Errors
    ///
    /// When the engine has no memory.
    pub(super) fn new(ctx: &Ctx<'_>) -> Result<Self> {
        Ok(Self {
            ordinary: Class::ordinary(ctx)?,
            allow: Name::new(ctx, "allow")?,
            deny_message: Name::new(ctx, "deny_message")?,
            max_tx_bytes: Name::new(ctx, "max_tx_bytes")?,
            tcp: Name::new(ctx, "tcp")?,
        })
    }

    /// Reads the value of the rule's last expression; `None` when it proves nothing. `show`
    /// gives the text of strings that UTF-8 can't.
    ///
    /// Objects are read by their own data properties alone, so no code of the rule runs here.
    ///
    /// # Errors
    ///
    /// When the engine fails, which means that it is out of memory.
    pub(super) fn read<'js>(
        &self,
        value: &Value<'js>,
        show: impl Fn(&Value<'js>) -> Result<String>,
    ) -> Result<Option<Decision>> {
        if let Some(allow) = value.as_bool() {
            return Ok(Some(if allow { allowed() } else { denied(None) }));
        }
        if value.is_string() {
            return Ok(Some(from_text(text(value, show)?.trim())));
        }
        // Arrays, functions, promises and errors are no such objects.
        match Ordinary::of(value, self.ordinary) {
            Some(object) => self.read_object(&object, show),
            None => Ok(None),
        }
    }

    fn read_object<'js>(
        &self,
        object: &Ordinary<'_, 'js>,
        show: impl Fn(&Value<'js>) -> Result<String>,
    ) -> Result<Option<Decision>> {
        let allow = object.own(&self.allow)?;
        let message = object.own(&self.deny_message)?;
        let message = if message.is_string() { Some(text(&message, show)?) } else { None };
        match (allow.as_bool(), message) {
            (Some(true), _) => Ok(Some(allowed())),
            (Some(false), message) => Ok(Some(denied(message))),
            (None, Some(message)) if allow.is_undefined() => Ok(Some(denied(Some(message)))),
            (None, _) => match Ordinary::of(&allow, self.ordinary) {
                Some(limits) => self.read_limits(&limits),
                None => Ok(None),
            },
        }
    }

    /// `{max_tx_bytes: N}`, `{tcp: true}` or both, and nothing else: a limit that is not understood
    /// is not kept. `tcp: false` proves nothing: it may be how the rule says no.
    fn read_limits(&self, limits: &Ordinary<'_, '_>) -> Result<Option<Decision>> {
        let (bytes, tcp) = (limits.own(&self.max_tx_bytes)?, limits.own(&self.tcp)?);
        let known = u32::from(!bytes.is_undefined()) + u32::from(!tcp.is_undefined());
        if known == 0 || limits.size()? != known {
            return Ok(None);
        }
        let opaque = match tcp.as_bool() {
            Some(true) => Opaque::Allowed,
            None if tcp.is_undefined() => Opaque::Refused,
            Some(false) | None => return Ok(None),
        };
        let max_tx_bytes = bytes.as_number().and_then(whole);
        if max_tx_bytes.is_none() && !bytes.is_undefined() {
            return Ok(None);
        }
        Ok(Some(Decision::Allow(Limits { max_tx_bytes, opaque })))
    }
}

/// The text of a string; halves of surrogate pairs become U+FFFD.
fn text<'js>(string: &Value<'js>, show: impl Fn(&Value<'js>) -> Result<String>) -> Result<String> {
    match string.as_string().map(|string| string.to_string()) {
        Some(Ok(text)) => Ok(text),
        // Not UTF-8, or no memory; which of them, this tells.
        Some(Err(_)) | None => show(string),
    }
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

/// Above this a JavaScript number may stand for more than one whole number.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;
