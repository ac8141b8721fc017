//! What a run notes of what it puts up, so that the next one can take it down if this one is killed.

use crate::{anchor, pfctl::Token};

/// A run's traces in pf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The anchor. Noted before it is loaded.
    pub anchor: String,
    /// The token by which pf is enabled, once there is one.
    pub token: Option<Token>,
}

impl State {
    /// As the file holds it.
    pub fn encode(&self) -> String {
        let token = self.token.as_ref().map(|token| format!("token {}\n", token.as_str()));
        format!("anchor {}\n{}", self.anchor, token.unwrap_or_default())
    }

    /// Reads it back. `None`: it names no anchor of httpjail's, and nothing is to be done by it. A
    /// line that was cut is left out.
    pub fn decode(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            whole.filter_map(|line| line.split_once(' ')).find(|(key, _)| *key == name)
        };
        let anchor = value("anchor").map(|(_, anchor)| anchor).filter(|it| anchor::is_ours(it))?;
        let token = value("token").and_then(|(_, token)| Token::new(token));
        Some(Self { anchor: anchor.to_owned(), token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_wrote() {
        let anchor = "com.apple/000.httpjail-a1b2c3d4".to_owned();
        for token in [None, Token::new("42")] {
            let state = State { anchor: anchor.clone(), token };
            assert_eq!(State::decode(&state.encode()), Some(state));
        }
    }

    #[test]
    fn touches_no_anchor_of_others() {
        for text in
            ["", "anchor com.apple\n", "anchor com.apple/200.AirDrop\ntoken 1\n", "token 1\n"]
        {
            assert_eq!(State::decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn every_prefix_is_read_without_harm() {
        let whole = State {
            anchor: "com.apple/000.httpjail-a1b2c3d4".to_owned(),
            token: Token::new("1234567"),
        };
        let text = whole.encode();
        for end in 0..text.len() {
            let read = State::decode(&text[..end]);
            assert!(read.is_none_or(|read| read.anchor == whole.anchor && read.token.is_none()));
        }
    }
}
