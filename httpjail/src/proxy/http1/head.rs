//! Reads the heads of requests. What two programs could read differently is refused: that is how one
//! request is hidden in another (P8).

use std::{cell::Cell, mem::MaybeUninit};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use httparse::{ParserConfig, Status};

use crate::streams::http1::{Chunked, Framing, head_end, tokens};

const MAX_HEADERS: usize = 512;
/// How long a head may be.
const LONGEST: usize = 256 * 1024;
/// How many bytes of a head that isn't whole a connection may hold whatever others do.
const FREE: usize = 16 * 1024;
/// How many more all connections of a thread may hold together.
const TOGETHER: usize = 64 * 1024 * 1024;
/// How long its target may be.
const LONGEST_TARGET: usize = u16::MAX as usize - 1;

/// The head of a request.
#[derive(Debug)]
pub(in crate::proxy) struct Head {
    pub(in crate::proxy) request: Request<()>,
    pub(in crate::proxy) framing: Framing,
    /// Whether the client may send another request behind this one (RFC 9112, 9.3).
    pub(in crate::proxy) keeps: bool,
    /// Whether the client waits for `100 Continue`.
    pub(in crate::proxy) expects: bool,
    /// Whether it would change the protocol.
    pub(in crate::proxy) upgrades: bool,
}

/// Why a head can't be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::proxy) enum HeadError {
    #[error("the request's method is malformed")]
    Method,
    #[error("the request's target is malformed")]
    Target,
    #[error("the request's target is too long")]
    LongTarget,
    #[error("the request's version is neither HTTP/1.1 nor HTTP/1.0")]
    Version,
    #[error("a header field of the request is malformed")]
    Field,
    #[error("the request contradicts itself about the length of its body")]
    Framing,
    #[error("the request's body is in another transfer coding than `chunked` alone")]
    Coding,
    #[error("the request's head is too long")]
    TooLong,
    #[error("too many requests with long heads are under way")]
    Crowded,
}

impl HeadError {
    /// The status to answer with.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::LongTarget => StatusCode::URI_TOO_LONG,
            Self::TooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Crowded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Method
            | Self::Target
            | Self::Version
            | Self::Field
            | Self::Framing
            | Self::Coding => StatusCode::BAD_REQUEST,
        }
    }
}

/// How far the bytes of a head that isn't whole were looked at.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// So many are known not to hold its end.
    looked_at: usize,
    /// With so many it is parsed as far as it goes: nobody waits for the end of what is none.
    parse_at: usize,
    held: Held,
}

thread_local! {
    /// What the connections of this thread hold of such heads, but for what is free.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// One connection's part of it.
#[derive(Debug, Default)]
struct Held(usize);

impl Held {
    /// For a head of `length` by now. Many clients together can't fill the memory by heads without end.
    fn grow(&mut self, length: usize) -> Result<(), HeadError> {
        let more = length.saturating_sub(FREE).saturating_sub(self.0);
        let together = HELD.get() + more;
        if more > 0 && together > TOGETHER {
            return Err(HeadError::Crowded);
        }
        HELD.set(together);
        self.0 += more;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.set(HELD.get().saturating_sub(self.0));
    }
}

/// Takes the head of a request out of what was `unread`; nothing as long as it isn't whole.
///
/// # Errors
///
/// When it can't be read.
pub(super) fn take(
    unread: &mut BytesMut,
    progress: &mut Progress,
) -> Result<Option<Head>, HeadError> {
    // No head begins with an empty line, so these were not yet looked at.
    let empty_lines = empty_lines(unread);
    if empty_lines > 0 {
        unread.advance(empty_lines);
        *progress = Progress::default();
    }
    let Some(end) = head_end(unread, progress.looked_at) else {
        if unread.len() > LONGEST {
            return Err(HeadError::TooLong);
        }
        progress.held.grow(unread.len())?;
        progress.looked_at = unread.len();
        if unread.len() > progress.parse_at {
            progress.parse_at = unread.len() * 2;
            parse(unread, |_, _| ())?;
        }
        return Ok(None);
    };
    *progress = Progress::default();
    if end > LONGEST {
        return Err(HeadError::TooLong);
    }
    let head = if end == unread.len() {
        std::mem::take(unread).freeze()
    } else {
        unread.split_to(end).freeze()
    };
    read(&head).map(Some)
}

/// How long the empty lines are that may stand before a request (RFC 9112, 2.2).
fn empty_lines(bytes: &[u8]) -> usize {
    let mut length = 0;
    loop {
        match bytes.get(length..) {
            Some([b'\n', ..]) => length += 1,
            Some([b'\r', b'\n', ..]) => length += 2,
            _ => return length,
        }
    }
}

/// Parses what there is of a head, and gives it to `read` if it is whole, with its length.
fn parse<T>(
    bytes: &[u8],
    read: impl FnOnce(&httparse::Request<'_, '_>, usize) -> T,
) -> Result<Option<T>, HeadError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let status =
        ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, bytes, &mut fields);
    match status {
        Ok(Status::Complete(length)) => Ok(Some(read(&parsed, length))),
        Ok(Status::Partial) => Ok(None),
        Err(httparse::Error::Token) if parsed.method.is_none() => Err(HeadError::Method),
        Err(httparse::Error::Token) => Err(HeadError::Target),
        Err(httparse::Error::Version) => Err(HeadError::Version),
        Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooLong),
        Err(_) => Err(HeadError::Field),
    }
}

fn read(bytes: &Bytes) -> Result<Head, HeadError> {
    // The end was found by its empty line, so there is no other.
    let read = |parsed: &httparse::Request<'_, '_>, length: usize| {
        if length == bytes.len() { translate(bytes, parsed) } else { Err(HeadError::Field) }
    };
    parse(bytes, read)?.ok_or(HeadError::Field)?
}

fn translate(bytes: &Bytes, parsed: &httparse::Request<'_, '_>) -> Result<Head, HeadError> {
    let method = parsed.method.ok_or(HeadError::Method)?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::Method)?;
    let target = parsed.path.ok_or(HeadError::Target)?.as_bytes();
    if target.len() > LONGEST_TARGET {
        return Err(HeadError::LongTarget);
    }
    let uri = Uri::from_maybe_shared(bytes.slice_ref(target)).map_err(|_| HeadError::Target)?;
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };

    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    let mut said = Said::new(version);
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| HeadError::Field)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))
            .map_err(|_| HeadError::Field)?;
        if said.hear(&name, &value, &mut headers)? {
            headers.append(name, value);
        }
    }
    let framing = said.framing();
    let keeps = said.keeps();
    let is_http_11 = version == Version::HTTP_11;
    let upgrades = method == Method::CONNECT || (is_http_11 && said.upgrades);
    let expects = is_http_11 && said.expects && !framing.is_over();

    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    Ok(Head { request, framing, keeps, expects, upgrades })
}

/// What header fields say about the message itself.
struct Said {
    version: Version,
    length: Option<u64>,
    has_length: bool,
    is_chunked: bool,
    closes: bool,
    stays: bool,
    expects: bool,
    upgrades: bool,
}

impl Said {
    fn new(version: Version) -> Self {
        Self {
            version,
            length: None,
            has_length: false,
            is_chunked: false,
            closes: false,
            stays: false,
            expects: false,
            upgrades: false,
        }
    }

    /// Takes note of a field; tells whether it belongs among the `headers`, which hold those before.
    fn hear(
        &mut self,
        name: &HeaderName,
        value: &HeaderValue,
        headers: &mut HeaderMap,
    ) -> Result<bool, HeadError> {
        match *name {
            header::TRANSFER_ENCODING => {
                // 1.0 knows none: whoever reads it by that version sees another end (RFC 9112, 6.1).
                if self.version != Version::HTTP_11 {
                    return Err(HeadError::Framing);
                }
                // It counts, whatever the length says (RFC 9112, 6.3).
                headers.remove(header::CONTENT_LENGTH);
                // What is coded in another way, too, would be passed on as if it weren't.
                if self.is_chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(HeadError::Coding);
                }
                self.is_chunked = true;
            }
            header::CONTENT_LENGTH => {
                self.has_length = true;
                if self.is_chunked {
                    return Ok(false);
                }
                let length = digits(value.as_bytes()).ok_or(HeadError::Framing)?;
                if self.length.is_some_and(|before| before != length) {
                    return Err(HeadError::Framing);
                }
                // Once is enough.
                return Ok(self.length.replace(length).is_none());
            }
            header::CONNECTION => {
                let has = |token: &[u8]| tokens(value).any(|has| has.eq_ignore_ascii_case(token));
                self.closes |= has(b"close");
                self.stays |= has(b"keep-alive");
            }
            header::EXPECT => {
                self.expects = value.as_bytes().eq_ignore_ascii_case(b"100-continue");
            }
            header::UPGRADE => self.upgrades = true,
            _ => {}
        }
        Ok(true)
    }

    fn framing(&self) -> Framing {
        match self.is_chunked {
            true => Framing::Chunked(Chunked::default()),
            false => Framing::of_length(self.length.unwrap_or(0)),
        }
    }

    fn keeps(&self) -> bool {
        let may_stay = self.version == Version::HTTP_11 || self.stays;
        // Behind a body of two lengths nothing is read (RFC 9112, 6.1).
        let is_ambiguous = self.is_chunked && self.has_length;
        may_stay && !self.closes && !is_ambiguous
    }
}

/// A number that is nothing but digits.
fn digits(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(head: &str) -> Result<Head, HeadError> {
        let mut unread = BytesMut::from(head);
        take(&mut unread, &mut Progress::default()).map(|head| head.expect("the head is whole"))
    }

    fn post(fields: &str) -> Result<Head, HeadError> {
        whole(&format!("POST / HTTP/1.1\r\n{fields}\r\n"))
    }

    #[test]
    fn a_head_ends_where_it_ends_however_it_is_cut() {
        for text in [
            "POST /p?q HTTP/1.1\r\nA: 1\r\nContent-Length: 3\r\n\r\nabc",
            "POST /p?q HTTP/1.1\nA: 1\nContent-Length: 3\n\nabc",
            "\r\n\n\r\nPOST /p?q HTTP/1.1\r\na:1\r\ncontent-length:3\r\n\r\nabc",
        ] {
            for size in 1..text.len() {
                let mut unread = BytesMut::new();
                let mut progress = Progress::default();
                let mut heads = text.as_bytes().chunks(size).filter_map(|piece| {
                    unread.extend_from_slice(piece);
                    take(&mut unread, &mut progress).unwrap()
                });
                let head = heads.next().unwrap();
                assert!(heads.next().is_none());
                assert_eq!(head.request.uri(), "/p?q");
                assert_eq!(head.request.headers()["a"], "1");
                assert!(matches!(head.framing, Framing::Length(3)));
                assert!(b"abc".starts_with(&unread) || unread == "abc", "{unread:?}");
            }
        }
    }

    #[test]
    fn the_end_of_a_body_is_known() {
        let framing = |fields: &str| post(fields).unwrap().framing;
        assert!(framing("").is_over());
        assert!(framing("content-length: 0\r\n").is_over());
        assert!(matches!(framing("content-length: 005\r\n"), Framing::Length(5)));
        let twice = "content-length: 5\r\ncontent-length: 5\r\n";
        assert!(matches!(framing(twice), Framing::Length(5)));
        let head = post(twice).unwrap();
        assert_eq!(head.request.headers().get_all("content-length").iter().count(), 1);
        for chunked in ["chunked", "Chunked"] {
            let fields = format!("transfer-encoding: {chunked}\r\n");
            assert!(matches!(framing(&fields), Framing::Chunked(_)), "{fields}");
        }
    }

    #[test]
    fn no_other_coding_is_passed_on_under_the_name_of_chunked() {
        for codings in [
            "gzip, chunked",
            "chunked, gzip",
            "chunked, chunked",
            "gzip\r\ntransfer-encoding: chunked",
            "chunked\r\ntransfer-encoding: gzip",
            "chunked\r\ntransfer-encoding: chunked",
            "identity",
            "",
        ] {
            let fields = format!("transfer-encoding: {codings}\r\n");
            assert_eq!(post(&fields).err(), Some(HeadError::Coding), "{fields}");
        }
    }

    #[test]
    fn nothing_is_read_behind_a_body_of_two_lengths() {
        for fields in [
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
            "transfer-encoding: chunked\r\ncontent-length: x\r\n",
        ] {
            let head = post(fields).unwrap();
            assert!(matches!(head.framing, Framing::Chunked(_)) && !head.keeps, "{fields}");
            assert!(!head.request.headers().contains_key("content-length"), "{fields}");
        }
    }

    #[test]
    fn a_connection_is_kept_as_the_client_says() {
        let keeps = |version: &str, fields: &str| {
            whole(&format!("GET / HTTP/{version}\r\n{fields}\r\n")).unwrap().keeps
        };
        assert!(keeps("1.1", ""));
        assert!(keeps("1.1", "connection: x, keep-alive\r\n"));
        assert!(!keeps("1.1", "connection: x, Close\r\n"));
        assert!(!keeps("1.1", "connection: close\r\nconnection: keep-alive\r\n"));
        assert!(!keeps("1.0", ""));
        assert!(keeps("1.0", "connection: Keep-Alive\r\n"));
        assert!(!keeps("1.0", "connection: keep-alive\r\nconnection: close\r\n"));
    }

    #[test]
    fn only_a_client_of_1_1_with_a_body_waits_for_100() {
        let expects = |line: &str, fields: &str| {
            whole(&format!("{line}\r\nExpect: 100-Continue\r\n{fields}\r\n")).unwrap().expects
        };
        assert!(expects("PUT / HTTP/1.1", "content-length: 1\r\n"));
        assert!(!expects("PUT / HTTP/1.1", ""));
        assert!(!expects("PUT / HTTP/1.0", "content-length: 1\r\n"));
    }

    #[test]
    fn what_is_no_head_is_refused_before_its_end() {
        for (text, error) in [
            ("GE(T / HTTP/1.1\r\nhost", HeadError::Method),
            ("GET /\x7f", HeadError::Target),
            ("GET / HTTP/1.2\r\nhost", HeadError::Version),
            ("GET / HTTP/1.1\r\na b: c", HeadError::Field),
            ("GET / HTTP/1.1\r\na: \x01", HeadError::Field),
            ("\rGET / HTTP/1.1\r\n", HeadError::Field),
        ] {
            let taken = take(&mut BytesMut::from(text), &mut Progress::default());
            assert_eq!(taken.map(|head| head.is_some()), Err(error), "{text:?}");
        }
    }

    #[test]
    fn heads_have_limits() {
        let many = |count: usize| post(&"a: 1\r\n".repeat(count)).map(|_| ());
        assert_eq!(many(MAX_HEADERS), Ok(()));
        assert_eq!(many(MAX_HEADERS + 1), Err(HeadError::TooLong));
        let target = |length: usize| {
            whole(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(length - 1))).map(|_| ())
        };
        assert_eq!(target(LONGEST_TARGET), Ok(()));
        assert_eq!(target(LONGEST_TARGET + 1), Err(HeadError::LongTarget));
        let long = |end: &str| {
            let text = format!("GET / HTTP/1.1\r\na: {}{end}", "x".repeat(LONGEST));
            take(&mut BytesMut::from(text.as_str()), &mut Progress::default()).map(|_| ())
        };
        assert_eq!(long(""), Err(HeadError::TooLong));
        assert_eq!(long("\r\n\r\n"), Err(HeadError::TooLong));
        let fits = format!("a: {}\r\n", "x".repeat(200_000));
        assert_eq!(post(&fits).unwrap().request.headers()["a"].len(), 200_000);
    }

    #[test]
    fn heads_without_end_fill_no_memory() {
        let long = format!("GET / HTTP/1.1\r\na: {}", "x".repeat(200_000));
        let begin = |held: &mut Vec<Progress>| {
            let mut progress = Progress::default();
            let taken = take(&mut BytesMut::from(long.as_str()), &mut progress);
            held.push(progress);
            taken.map(|head| assert!(head.is_none()))
        };
        let mut held = Vec::new();
        let first_refused = (0..1000).find(|_| begin(&mut held).is_err()).unwrap();
        assert!((300..400).contains(&first_refused), "{first_refused}");
        assert_eq!(begin(&mut held), Err(HeadError::Crowded));
        let short = &mut BytesMut::from("GET / HTTP/1.1\r\na: b");
        assert!(take(short, &mut Progress::default()).is_ok());
        held.truncate(1);
        assert_eq!(begin(&mut held), Ok(()));
    }

    proptest! {
        /// Whoever is told of a length reads so many bytes; nobody is told of two.
        #[test]
        fn framing_never_contradicts_what_is_passed_on(
            fields in prop::collection::vec(
                prop::sample::select(vec![
                    "content-length: 5", "content-length: 6", "content-length: 05",
                    "content-length: +5", "content-length: 5, 5", "content-length:",
                    "transfer-encoding: chunked", "transfer-encoding: gzip",
                    "transfer-encoding: gzip, chunked", "transfer-encoding: chunked, gzip",
                    "transfer-encoding: xchunked", "transfer-encoding:", "x: y",
                ]),
                0..5,
            ),
        ) {
            let text: String = fields.iter().flat_map(|field| [*field, "\r\n"]).collect();
            if let Ok(head) = post(&text) {
                let headers = head.request.headers();
                let lengths: Vec<_> = headers.get_all("content-length").iter().collect();
                let told = lengths.first().map(|length| digits(length.as_bytes()).unwrap());
                match head.framing {
                    Framing::Length(length) => prop_assert_eq!(told, Some(length)),
                    Framing::Chunked(_) => prop_assert_eq!(told, None),
                    Framing::Over => prop_assert!(told.is_none_or(|told| told == 0)),
                    Framing::UntilClose => prop_assert!(false, "a request has an end"),
                }
                prop_assert!(lengths.len() <= 1);
            }
        }
    }
}
