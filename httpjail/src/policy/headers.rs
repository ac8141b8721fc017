//! The header fields of a request, as rules see them.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The fields as the client sent them. A request lends them to its facts while it is judged, so
/// nothing of them is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<HeaderMap>>);

impl Headers {
    /// All fields, each name once, in lower case. Values that a name has several of are joined as
    /// RFC 9110 (5.3) says, those of Cookie as RFC 9113 (8.2.3) does.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let fields = self.fields();
        fields.keys().map(move |name| (name.as_str(), joined(fields, name)))
    }

    /// The value of a field, whatever the case of `name`; several are joined.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let fields = self.fields();
        fields.contains_key(&name).then(|| joined(fields, &name))
    }

    /// Gives the fields back.
    pub(super) fn into_map(self) -> HeaderMap {
        self.0.map(Arc::unwrap_or_clone).unwrap_or_default()
    }

    /// Whether nobody else holds them.
    #[cfg(test)]
    pub(crate) fn is_held_once(&self) -> bool {
        self.0.as_ref().is_none_or(|fields| Arc::strong_count(fields) == 1)
    }

    fn fields(&self) -> &HeaderMap {
        static NONE: OnceLock<HeaderMap> = OnceLock::new();
        self.0.as_deref().unwrap_or_else(|| NONE.get_or_init(HeaderMap::new))
    }
}

impl From<HeaderMap> for Headers {
    fn from(fields: HeaderMap) -> Self {
        Self((!fields.is_empty()).then(|| Arc::new(fields)))
    }
}

/// The values of a field that is there.
fn joined<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Cow<'a, str> {
    let mut values = fields.get_all(name).iter().map(text);
    let first = values.next().unwrap_or_default();
    let separator = if name == header::COOKIE { "; " } else { ", " };
    values.fold(first, |mut joined, value| {
        joined.to_mut().extend([separator, &*value]);
        joined
    })
}

/// A value as text. Bytes that aren't UTF-8, which a field may hold, become U+FFFD.
fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &[u8])]) -> Headers {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            map.append(name, HeaderValue::from_bytes(value).expect("a value"));
        }
        map.into()
    }

    #[test]
    fn several_values_are_one() {
        let headers = headers(&[
            ("Accept", b"a/b"),
            ("Cookie", b"a=1"),
            ("X-Empty", b""),
            ("accept", b"c/d"),
            ("cookie", b"b=2; c=3"),
            ("ACCEPT", b""),
        ]);
        let seen: Vec<_> = headers.iter().collect();
        let expected = [("accept", "a/b, c/d, "), ("cookie", "a=1; b=2; c=3"), ("x-empty", "")];
        assert_eq!(seen, expected.map(|(name, value)| (name, Cow::from(value))));
    }

    #[test]
    fn a_field_is_found_in_any_case() {
        let headers = headers(&[("X-Token", b"t")]);
        for name in ["x-token", "X-Token", "X-TOKEN"] {
            assert_eq!(headers.get(name).as_deref(), Some("t"), "{name}");
        }
        for name in ["token", "", "x token", "x-token:", "ü"] {
            assert_eq!(headers.get(name), None, "{name}");
        }
        assert_eq!(Headers::default().get("x-token"), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        let headers = headers(&[("a", b"\xfc\xc3\xbc")]);
        assert_eq!(headers.get("a").as_deref(), Some("\u{fffd}ü"));
    }

    #[test]
    fn what_was_lent_is_given_back() {
        let mut map = HeaderMap::new();
        map.append("a", HeaderValue::from_static("1"));
        map.append("a", HeaderValue::from_static("2"));
        assert_eq!(Headers::from(map.clone()).into_map(), map);
        assert_eq!(Headers::default().into_map(), HeaderMap::new());
    }
}
