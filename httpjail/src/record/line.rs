//! The text of a record: `<time> <+|-> METHOD URL`, one line, plain printable ASCII.
//!
//! What the jail sent can't start a second line or steer a terminal: every byte outside
//! `0x20..=0x7e` is written as `%XX`. A space would end a field and is written `%20`. The `%` of
//! the request stays as it is, so a URL that needed nothing reads as it was sent.

use std::fmt::Write;

use crate::policy::{Authority, RequestFacts};

/// The most bytes of one field as sent; what is longer is cut, and the cut is marked.
const MAX_FIELD_BYTES: usize = 2048;
/// Marks a cut; `<` and `>` never stand raw in a URL, and are escaped when they do.
const CUT: &str = "<cut>";

/// Whether a request was let out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Denied,
}

impl Verdict {
    fn sign(self) -> char {
        match self {
            Self::Allowed => '+',
            Self::Denied => '-',
        }
    }
}

/// What follows the time in the line of a judged request.
pub(super) fn request(verdict: Verdict, facts: &RequestFacts) -> String {
    let url = facts.url();
    let mut line = String::with_capacity(facts.method.len() + url.len() + 8);
    line.push(' ');
    line.push(verdict.sign());
    field(&mut line, &facts.method);
    field(&mut line, &url);
    line.push('\n');
    line
}

/// What follows the time in the line of a flow that was refused before it was a request: the
/// protocol takes the method's place, and the URL has that protocol as its scheme.
pub(super) fn refused_flow(protocol: &str, target: &Authority) -> String {
    let mut line = String::with_capacity(64);
    line.push_str(" -");
    field(&mut line, protocol);
    field(&mut line, &format!("{}://{target}", protocol.to_ascii_lowercase()));
    line.push('\n');
    line
}

fn field(line: &mut String, text: &str) {
    line.push(' ');
    let bytes = text.as_bytes();
    for &byte in bytes.iter().take(MAX_FIELD_BYTES) {
        match byte {
            b'<' | b'>' => escape(line, byte),
            0x21..=0x7e => line.push(char::from(byte)),
            _ => escape(line, byte),
        }
    }
    if bytes.len() > MAX_FIELD_BYTES {
        line.push_str(CUT);
    }
}

fn escape(line: &mut String, byte: u8) {
    write!(line, "%{byte:02X}").expect("writing to a string never fails");
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::Version;
    use proptest::prelude::*;

    use super::*;
    use crate::policy::{Headers, Host, Scheme};

    fn facts(method: &str, path: &str) -> RequestFacts {
        RequestFacts {
            method: method.to_owned(),
            scheme: Scheme::Https,
            authority: Authority::new(Host::parse("a.test").unwrap(), 443),
            path: path.to_owned(),
            query: None,
            protocol: Some(Version::HTTP_11),
            headers: Headers::default(),
            requester: [127, 0, 0, 1].into(),
            process: None,
            time: UNIX_EPOCH,
        }
    }

    #[test]
    fn writes_sign_method_and_url() {
        let get = facts("GET", "/x");
        assert_eq!(request(Verdict::Allowed, &get), " + GET https://a.test/x\n");
        assert_eq!(request(Verdict::Denied, &get), " - GET https://a.test/x\n");
    }

    #[test]
    fn names_the_protocol_of_a_refused_flow() {
        let name = Authority::new(Host::parse("a.test").unwrap(), 22);
        assert_eq!(refused_flow("TCP", &name), " - TCP tcp://a.test:22\n");
        let ip = Authority::new(Host::parse("[2001:db8::1]").unwrap(), 443);
        assert_eq!(refused_flow("TLS", &ip), " - TLS tls://[2001:db8::1]:443\n");
    }

    #[test]
    fn escapes_what_could_forge_a_line_or_steer_a_terminal() {
        let line = |path| request(Verdict::Denied, &facts("GET", path));
        assert_eq!(line("/\n2026 + GET b"), " - GET https://a.test/%0A2026%20+%20GET%20b\n");
        assert_eq!(line("/\x1b[2J\x7f\0"), " - GET https://a.test/%1B[2J%7F%00\n");
        assert_eq!(line("/\u{202e}é"), " - GET https://a.test/%E2%80%AE%C3%A9\n");
        assert_eq!(line("/%0A<cut>"), " - GET https://a.test/%0A%3Ccut%3E\n");
    }

    #[test]
    fn cuts_long_fields_and_says_so() {
        let url = |path_len: usize| {
            let path = format!("/{}", "a".repeat(path_len));
            request(Verdict::Denied, &facts("GET", &path))
        };
        let prefix = "https://a.test/".len();
        assert!(url(MAX_FIELD_BYTES - prefix).ends_with("a\n"));
        assert!(url(MAX_FIELD_BYTES - prefix + 1).ends_with("a<cut>\n"));
        assert!(request(Verdict::Denied, &facts(&"M".repeat(9000), "/")).contains("M<cut> https"));
    }

    proptest! {
        #[test]
        fn is_one_printable_line_of_three_fields(method in "(?s).{0,32}", path in "(?s).{0,32}") {
            let line = request(Verdict::Denied, &facts(&method, &path));
            let body = line.strip_suffix('\n').unwrap();
            prop_assert!(body.bytes().all(|b| (0x20..=0x7e).contains(&b)));
            prop_assert_eq!(body.split(' ').count(), 4);
        }
    }
}
