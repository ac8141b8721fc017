//! JSON on its way into a line: printable ASCII, whatever the text was.
//!
//! Written by hand as it stands on every request's path, and as what the jail sent must neither
//! steer a terminal that shows the file nor fill the disk.

use std::fmt::{Display, Write};

/// The most bytes of one text as it came; what is longer is cut, and the cut is marked.
const MAX_TEXT_BYTES: usize = 8192;
/// Marks a cut.
const CUT: &str = "<cut>";

/// Appends `"name":`, behind a comma unless an object has just begun.
pub(super) fn key(line: &mut String, name: &str) {
    if !line.is_empty() && !line.ends_with('{') {
        line.push(',');
    }
    line.push('"');
    line.push_str(name);
    line.push_str("\":");
}

/// Appends a member with a text, or null.
pub(super) fn text<'a>(line: &mut String, name: &str, value: impl Into<Option<&'a str>>) {
    key(line, name);
    match value.into() {
        Some(value) => {
            line.push('"');
            escape(line, value);
            line.push('"');
        }
        None => line.push_str("null"),
    }
}

/// Appends a member with a number, or null.
pub(super) fn number(line: &mut String, name: &str, value: impl Into<Option<u64>>) {
    key(line, name);
    match value.into() {
        Some(value) => display(line, value),
        None => line.push_str("null"),
    }
}

/// Appends what displays as JSON already, or as a part of a text that needs no escapes.
pub(super) fn display(line: &mut String, value: impl Display) {
    write!(line, "{value}").expect("writing to a string never fails");
}

/// Appends a text's characters as they stand between quotes.
pub(super) fn escape(line: &mut String, value: &str) {
    let end = value.floor_char_boundary(MAX_TEXT_BYTES.min(value.len()));
    let mut rest = &value[..end];
    while let Some(at) = rest.bytes().position(|byte| !is_plain(byte)) {
        let (plain, odd) = rest.split_at(at);
        line.push_str(plain);
        let mut odd = odd.chars();
        if let Some(character) = odd.next() {
            escape_one(line, character);
        }
        rest = odd.as_str();
    }
    line.push_str(rest);
    if end < value.len() {
        line.push_str(CUT);
    }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\')
}

fn escape_one(line: &mut String, character: char) {
    match character {
        '"' => line.push_str("\\\""),
        '\\' => line.push_str("\\\\"),
        '\n' => line.push_str("\\n"),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                display(line, format_args!("\\u{unit:04x}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(fill: impl FnOnce(&mut String)) -> serde_json::Value {
        let mut line = String::from("{");
        fill(&mut line);
        line.push('}');
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn members_follow_one_another() {
        let value = object(|line| {
            text(line, "a", "x");
            text(line, "b", None);
            number(line, "c", 7);
            number(line, "d", None);
        });
        assert_eq!(value, serde_json::json!({"a": "x", "b": null, "c": 7, "d": null}));
    }

    #[test]
    fn long_texts_are_cut_between_characters_and_say_so() {
        let whole = "é".repeat(MAX_TEXT_BYTES / 2);
        for (given, kept) in [(whole.clone(), whole.clone()), (format!("{whole}x"), whole + CUT)] {
            assert_eq!(object(|line| text(line, "a", given.as_str()))["a"], kept);
        }
        let odd = format!("x{}", "é".repeat(MAX_TEXT_BYTES / 2));
        let value = object(|line| text(line, "a", odd.as_str()));
        assert!(value["a"].as_str().unwrap().ends_with("é<cut>"));
    }

    proptest! {
        #[test]
        fn every_text_survives_as_printable_ascii(given in "(?s).{0,40}") {
            let mut line = String::new();
            escape(&mut line, &given);
            prop_assert!(line.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
            let read: String = serde_json::from_str(&format!("\"{line}\"")).unwrap();
            prop_assert_eq!(read, given);
        }
    }
}
