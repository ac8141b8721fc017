//! Sequences of words with wildcards: the labels of a name, the segments of a path.

/// One word of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// This word.
    Literal(Vec<u8>),
    /// `*`: one word, whichever, but not an empty one.
    One,
    /// `**`: any number of words, none at all included.
    Any,
}

/// Where a `*` stands that isn't a word of its own, counted in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amid(pub(super) usize);

impl Part {
    /// `word`, if it is a wildcard.
    ///
    /// # Errors
    ///
    /// Where a `*` is only a part of it.
    pub(super) fn wildcard(word: &str) -> Result<Option<Self>, Amid> {
        match word {
            "*" => Ok(Some(Self::One)),
            "**" => Ok(Some(Self::Any)),
            word => word.chars().position(|c| c == '*').map_or(Ok(None), |at| Err(Amid(at))),
        }
    }

    fn takes(&self, word: &[u8]) -> bool {
        match self {
            Self::Literal(literal) => literal == word,
            Self::One => !word.is_empty(),
            Self::Any => false,
        }
    }
}

/// Whether `words`, all of them, are what `parts` say. Takes time in proportion to both lengths at
/// most.
pub(super) fn matches<W: AsRef<[u8]>>(parts: &[Part], words: &[W]) -> bool {
    let (mut part, mut word) = (0, 0);
    // Where to go on if it goes wrong: behind the last `**`, one word later than last time.
    let mut again: Option<(usize, usize)> = None;
    loop {
        match (parts.get(part), words.get(word)) {
            (None, None) => return true,
            (Some(Part::Any), _) => {
                again = Some((part + 1, word));
                part += 1;
                continue;
            }
            (Some(one), Some(this)) if one.takes(this.as_ref()) => {
                (part, word) = (part + 1, word + 1);
                continue;
            }
            _ => {}
        }
        match again {
            Some((behind, from)) if from < words.len() => {
                again = Some((behind, from + 1));
                (part, word) = (behind, from + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str) -> Vec<Part> {
        let part = |word: &str| {
            let wildcard = Part::wildcard(word).expect("a word");
            wildcard.unwrap_or_else(|| Part::Literal(word.into()))
        };
        text.split_ascii_whitespace().map(part).collect()
    }

    fn words(text: &str) -> Vec<&str> {
        text.split_ascii_whitespace().collect()
    }

    #[test]
    fn one_star_is_one_word_and_two_are_any_number() {
        for (pattern, text, same) in [
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("a", "b", false),
            ("*", "a", true),
            ("*", "", false),
            ("*", "a b", false),
            ("**", "", true),
            ("**", "a b c", true),
            ("** a", "a", true),
            ("** a", "b a a", true),
            ("** a", "a b", false),
            ("a ** b", "a b", true),
            ("a ** b", "a x y b", true),
            ("a ** b ** c", "a b x b y c", true),
            ("a ** b ** c", "a c b", false),
            ("** * a", "a", false),
            ("** * a", "x a", true),
            ("** **", "", true),
        ] {
            assert_eq!(matches(&parts(pattern), &words(text)), same, "{pattern:?} {text:?}");
        }
        assert!(!matches(&parts("*"), &[""]));
        assert!(matches(&parts("**"), &["", ""]));
    }

    #[test]
    fn a_star_is_a_word_of_its_own() {
        for (word, at) in [("a*", 1), ("***", 0), ("é*x", 1), ("*a", 0)] {
            assert_eq!(Part::wildcard(word), Err(Amid(at)), "{word}");
        }
    }

    #[test]
    fn takes_no_time_beyond_measure() {
        let (pattern, text) = ("** a ".repeat(500) + "b", "a ".repeat(5000));
        assert!(!matches(&parts(&pattern), &words(&text)));
    }

    /// The definition itself.
    fn by_definition(parts: &[Part], words: &[&str]) -> bool {
        match (parts, words) {
            ([], []) => true,
            ([Part::Any, rest @ ..], words) => {
                (0..=words.len()).any(|taken| by_definition(rest, &words[taken..]))
            }
            ([part, parts @ ..], [word, words @ ..]) => {
                part.takes(word.as_bytes()) && by_definition(parts, words)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn is_what_the_definition_says(
            pattern in proptest::collection::vec("a|b|[*]|[*][*]", 0..7),
            text in proptest::collection::vec("a|b|", 0..8),
        ) {
            let text: Vec<&str> = text.iter().map(String::as_str).collect();
            let parts = parts(&pattern.join(" "));
            prop_assert_eq!(matches(&parts, &text), by_definition(&parts, &text));
        }
    }
}
