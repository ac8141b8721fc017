//! Paths as patterns mean them. Servers read dot segments, encoded slashes and the like in ways of
//! their own, so such a path is never proven to be an allowed one, and is denied if any way to read
//! it is denied.

use super::wildcard::{Part, matches};

/// A pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PathPattern {
    /// As in an allowance: word for word.
    exact: Vec<Part>,
    /// As in a refusal: without empty segments.
    squeezed: Vec<Part>,
}

/// A path that was asked for.
#[derive(Debug)]
pub(super) struct PathAsked {
    /// The segments, decoded; `None` where two servers may read them differently.
    plain: Option<Vec<Vec<u8>>>,
    /// All ways to read it, without empty segments.
    readings: Vec<Vec<Vec<u8>>>,
}

/// Why a text is no pattern of paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `a*`.
    #[error("`*` and `**` stand for whole segments of a path")]
    Wildcard,
    /// `.` or `..`.
    #[error("dot segments match nothing: write the path that they lead to")]
    Dots,
    /// `//`.
    #[error("empty segments match nothing")]
    Empty,
    /// `?` or `#`.
    #[error("a pattern ends with the path: queries aren't looked at")]
    Query,
    /// `%2f`, `\`, `%zz`.
    #[error("slashes and backslashes can't be escaped, and % wants two hexadecimal digits")]
    Escape,
    /// Anything that URLs don't have.
    #[error("a space or a control character")]
    Blank,
}

impl PathPattern {
    /// Reads `/a/*/**`. `None` if it stands for all paths.
    ///
    /// # Errors
    ///
    /// What is wrong, and at which character.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, (usize, PathError)> {
        let blank = |c: char| c.is_whitespace() || c.is_control();
        for (wrong, error) in [
            (text.chars().position(blank), PathError::Blank),
            (text.chars().position(|c| matches!(c, '?' | '#')), PathError::Query),
            (text.chars().position(|c| c == '\\'), PathError::Escape),
        ] {
            if let Some(at) = wrong {
                return Err((at, error));
            }
        }
        let mut exact = Vec::new();
        let mut at = 1;
        let mut segments = text.strip_prefix('/').unwrap_or(text).split('/').peekable();
        while let Some(segment) = segments.next() {
            let is_last = segments.peek().is_none();
            let part = part(segment, is_last).map_err(|(amid, error)| (at + amid, error))?;
            exact.push(part);
            at += segment.chars().count() + 1;
        }
        if exact == [Part::Any] {
            return Ok(None);
        }
        let squeezed = exact.iter().filter(|part| **part != Part::Literal(Vec::new()));
        Ok(Some(Self { squeezed: squeezed.cloned().collect(), exact }))
    }

    /// Whether it is proven that `path` is one of these.
    pub(super) fn surely_has(&self, path: &PathAsked) -> bool {
        path.plain.as_ref().is_some_and(|segments| matches(&self.exact, segments))
    }

    /// Whether a server may take `path` for one of these.
    pub(super) fn may_have(&self, path: &PathAsked) -> bool {
        path.readings.iter().any(|segments| matches(&self.squeezed, segments))
    }
}

fn part(segment: &str, is_last: bool) -> Result<Part, (usize, PathError)> {
    match Part::wildcard(segment) {
        Ok(Some(wildcard)) => return Ok(wildcard),
        Ok(None) => {}
        Err(amid) => return Err((amid.0, PathError::Wildcard)),
    }
    if segment.is_empty() && !is_last {
        return Err((0, PathError::Empty));
    }
    match plain(segment.as_bytes()) {
        Some(word) => Ok(Part::Literal(word)),
        None if is_dots(&decode(segment.as_bytes())) => Err((0, PathError::Dots)),
        None => Err((segment.chars().position(|c| c == '%').unwrap_or(0), PathError::Escape)),
    }
}

impl PathAsked {
    /// Looks at the path of a request.
    pub(super) fn new(path: &str) -> Self {
        let path = path.strip_prefix('/').unwrap_or(path).as_bytes();
        let plain = split(path).map(plain).collect::<Option<Vec<_>>>();
        let is_unclear = |byte: &u8| matches!(byte, b'%' | b'\\' | b';');
        let readings = match &plain {
            Some(segments) if !path.iter().any(is_unclear) => vec![squeezed(segments.clone())],
            Some(_) | None => readings(path),
        };
        Self { plain, readings }
    }
}

/// A segment, decoded, if there is one way to read it.
fn plain(segment: &[u8]) -> Option<Vec<u8>> {
    let once = decode_once(segment)?;
    let is_unclear = |byte: &u8| matches!(byte, b'/' | b'\\') || byte.is_ascii_control();
    let is_plain = !is_dots(&once)
        && !once.iter().any(is_unclear)
        && str::from_utf8(&once).is_ok()
        && decode(segment) == once;
    is_plain.then_some(once)
}

/// What servers may make of a path: they resolve dot segments before they decode, after that, never,
/// or both times; they decode once or more often, before they look for slashes or after that.
fn readings(path: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let sent: Vec<Vec<u8>> = split(path).map(<[u8]>::to_vec).collect();
    let mut readings = Vec::new();
    for first in [sent.clone(), resolved(sent)] {
        let by_segment: Vec<Vec<u8>> = first.iter().map(|segment| decode(segment)).collect();
        let whole = decode(&first.join(&b'/'));
        let as_one = whole.split(|byte| matches!(byte, b'/' | b'\\')).map(<[u8]>::to_vec).collect();
        for decoded in [by_segment, as_one] {
            let without_parameters = decoded.iter().map(|segment| name(segment).to_vec()).collect();
            readings.push(squeezed(resolved(without_parameters)));
            readings.push(squeezed(resolved(decoded.clone())));
            readings.push(squeezed(decoded));
        }
    }
    readings
}

fn split(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
}

/// A segment without the parameters that some servers look for in each (`..;x`).
fn name(segment: &[u8]) -> &[u8] {
    segment.split(|byte| *byte == b';').next().unwrap_or_default()
}

fn is_dots(segment: &[u8]) -> bool {
    matches!(name(segment), b"." | b"..")
}

fn resolved(segments: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut resolved = Vec::with_capacity(segments.len());
    for segment in segments {
        match &*segment {
            b"." => {}
            b".." => drop(resolved.pop()),
            _ => resolved.push(segment),
        }
    }
    resolved
}

fn squeezed(mut segments: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    segments.retain(|segment| !segment.is_empty());
    segments
}

/// Decodes `%XX`; `None` where a `%` is something else.
fn decode_once(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let [high, low, behind @ ..] = behind else { return None };
        decoded.push(byte(*high, *low)?);
        rest = behind;
    }
    Some(decoded)
}

/// Decodes `%XX` until nothing is left to decode, also in what was decoded. Takes time in proportion
/// to the length: what a byte completes ends in that byte.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    for next in text {
        decoded.push(*next);
        while let [.., b'%', high, low] = *decoded
            && let Some(byte) = byte(high, low)
        {
            decoded.truncate(decoded.len() - 3);
            decoded.push(byte);
        }
    }
    decoded
}

fn byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).expect("a pattern").expect("not for all paths")
    }

    fn surely(text: &str, path: &str) -> bool {
        pattern(text).surely_has(&PathAsked::new(path))
    }

    fn may(text: &str, path: &str) -> bool {
        pattern(text).may_have(&PathAsked::new(path))
    }

    #[test]
    fn segments_are_whole() {
        for (text, path) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/", "/a/"),
            ("/a/*", "/a/b"),
            ("/a/*/c", "/a/b/c"),
            ("/a/**", "/a"),
            ("/a/**", "/a/"),
            ("/a/**", "/a/b/c"),
            ("/a/**/z", "/a/z"),
            ("/**/z", "/a/b/z"),
            ("/é", "/%c3%A9"),
            ("/%C3%a9", "/%c3%A9"),
            ("/a%20b", "/a%20b"),
            ("/100%25", "/100%25"),
            ("/%2A", "/*"),
            ("/a;v=1", "/a;v=1"),
            ("/...", "/..."),
        ] {
            assert!(surely(text, path), "{text} {path}");
            assert!(may(text, path), "{text} {path}");
        }
        for (text, path) in [
            ("/", "/a"),
            ("/a", "/ab"),
            ("/a", "/A"),
            ("/a", "/a/b"),
            ("/a/*", "/a"),
            ("/a/*", "/a/b/c"),
            ("/a/**", "/ab"),
            ("/a/**", "/b/a"),
        ] {
            assert!(!surely(text, path), "{text} {path}");
            assert!(!may(text, path), "{text} {path}");
        }
    }

    #[test]
    fn an_unclear_path_is_never_allowed_by_its_path() {
        for path in [
            "/public/../admin",
            "/public/..",
            "/public/./x",
            "/public/%2e%2e/admin",
            "/public/.%2E/admin",
            "/public/%252e%252e/admin",
            "/public/%25252e/x",
            "/public/..%2fadmin",
            "/public/a%2Fb",
            "/public/..\\admin",
            "/public/a\\b",
            "/public/%5c..%5cadmin",
            "/public/..;/admin",
            "/public/..;x=1/admin",
            "/public/%2e%2e;/admin",
            "/public/..%3b/admin",
            "/public/%c0%ae%c0%ae/admin",
            "/public/a%00b",
            "/public/a%0ab",
            "/public/a%2570",
            "/public/%zz",
            "/public/%2",
            "/public/%",
        ] {
            assert!(!surely("/public/**", path), "{path}");
            assert!(!surely("/**/admin", path), "{path}");
        }
        assert!(surely("/public/**", "/public/a%20b;v=1/.x/x..y/%C3%A9"));
    }

    #[test]
    fn no_way_to_write_a_path_slips_past_a_refusal() {
        for path in [
            "/admin",
            "/admin/",
            "/admin/x",
            "//admin",
            "/admin//x",
            "/%61dmin",
            "/%2561dmin",
            "/%2525252525252561dmin/x",
            "/public/../admin",
            "/public/%2e%2e/admin",
            "/public/..%2fadmin",
            "/public%2f..%2fadmin",
            "/public/%252e%252e%252fadmin",
            "/./admin",
            "/%2e/admin",
            "/../admin",
            "/public\\..\\admin",
            "/public/..;x/admin",
            "/admin;x=1/y",
            "/x/..;/admin;y",
            "/admin/../y",
            "/admin%2f..%2fy",
            "/x/../admin/%2e%2e/y",
            "/x/../admin%2f..%2fy",
            "/admin/x%2fy",
            "/admin\\x",
        ] {
            assert!(may("/admin/**", path), "{path}");
        }
        for path in ["/public", "/public/admin", "/administrator", "/x%2fadmin", "/ADMIN"] {
            assert!(!may("/admin/**", path), "{path}");
        }
    }

    #[test]
    fn all_paths_are_no_pattern() {
        assert_eq!(PathPattern::parse("/**"), Ok(None));
    }

    #[test]
    fn what_is_no_pattern_is_told_with_its_place() {
        for (text, at, error) in [
            ("/a*", 2, PathError::Wildcard),
            ("/é/x***", 4, PathError::Wildcard),
            ("/a/../b", 3, PathError::Dots),
            ("/./b", 1, PathError::Dots),
            ("/%2E%2e", 1, PathError::Dots),
            ("/..;a", 1, PathError::Dots),
            ("//a", 1, PathError::Empty),
            ("/a//", 3, PathError::Empty),
            ("/a?b", 2, PathError::Query),
            ("/a#b", 2, PathError::Query),
            ("/a%2fb", 2, PathError::Escape),
            ("/a\\b", 2, PathError::Escape),
            ("/a%", 2, PathError::Escape),
            ("/%2541", 1, PathError::Escape),
            ("/a b", 2, PathError::Blank),
            ("/a\u{7}", 2, PathError::Blank),
        ] {
            assert_eq!(PathPattern::parse(text), Err((at, error)), "{text}");
        }
    }

    proptest! {
        /// Decoding again and again comes to the same as decoding all at once.
        #[test]
        fn decoding_ends_where_repeating_does(text in "[%0-3a-f/.]{0,24}") {
            let mut repeated = text.clone().into_bytes();
            loop {
                let mut next = Vec::new();
                let mut rest = &repeated[..];
                while let [first, behind @ ..] = rest {
                    rest = behind;
                    match (first, behind) {
                        (b'%', [high, low, behind @ ..]) if byte(*high, *low).is_some() => {
                            next.extend(byte(*high, *low));
                            rest = behind;
                        }
                        _ => next.push(*first),
                    }
                }
                if next == repeated {
                    break;
                }
                repeated = next;
            }
            prop_assert_eq!(decode(text.as_bytes()), repeated);
        }

        /// What is surely one of these may be one of these.
        #[test]
        fn a_refusal_covers_all_that_an_allowance_does(
            text in "(/(a|b|[*]|[*][*])){1,4}/?",
            path in "(/(a|b|%61|[.][.]|%2f|;)?){1,5}",
        ) {
            if let Some(pattern) = PathPattern::parse(&text).expect("a pattern") {
                let path = PathAsked::new(&path);
                prop_assert!(!pattern.surely_has(&path) || pattern.may_have(&path));
            }
        }
    }
}
