//! What shape an answer in JavaScript has.

use rquickjs::{Ctx, Result, Value};

use super::object::{Class, Name, Ordinary};
use crate::{
    policy::Decision,
    rules::answer::{self, Allow, Field, Shape},
};

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
        self.shape(value, show).map(answer::read)
    }

    fn shape<'js>(
        &self,
        value: &Value<'js>,
        show: impl Fn(&Value<'js>) -> Result<String>,
    ) -> Result<Shape> {
        if let Some(allow) = value.as_bool() {
            return Ok(Shape::Bool(allow));
        }
        if value.is_string() {
            return Ok(Shape::Text(text(value, show)?));
        }
        // Arrays, functions, promises and errors are no such objects.
        let Some(object) = Ordinary::of(value, self.ordinary) else { return Ok(Shape::Other) };
        let allow = object.own(&self.allow)?;
        let message = object.own(&self.deny_message)?;
        let deny_message = if message.is_string() { Some(text(&message, show)?) } else { None };
        Ok(Shape::Object { allow: self.allow(&allow)?, deny_message })
    }

    fn allow(&self, value: &Value<'_>) -> Result<Allow> {
        if let Some(allow) = value.as_bool() {
            return Ok(Allow::Bool(allow));
        }
        if value.is_undefined() {
            return Ok(Allow::Missing);
        }
        let Some(bounds) = Ordinary::of(value, self.ordinary) else { return Ok(Allow::Other) };
        Ok(Allow::Bounds {
            max_tx_bytes: field(&bounds.own(&self.max_tx_bytes)?, |bytes| bytes.as_number()),
            tcp: field(&bounds.own(&self.tcp)?, |tcp| tcp.as_bool()),
            size: usize::try_from(bounds.size()?).unwrap_or(usize::MAX),
        })
    }
}

fn field<'js, T>(value: &Value<'js>, read: impl Fn(&Value<'js>) -> Option<T>) -> Field<T> {
    match read(value) {
        Some(read) => Field::Is(read),
        None if value.is_undefined() => Field::Missing,
        None => Field::Other,
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
