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
mod tests;
