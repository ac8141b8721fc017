//! Heads: writes those of requests, reads those of answers.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
};
use httparse::{ParserConfig, Status};

use crate::streams::http1::{Chunked, Framing, Length, Reason, head_end, tokens};

const MAX_HEADERS: usize = 512;
/// How long an answer's head may be.
const LONGEST: usize = 512 * 1024;

/// Why an answer's head can't be read.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// It is no head, or has too many fields.
    #[error("its head is malformed")]
    Malformed(#[source] httparse::Error),
    /// A field is what HTTP has no words for.
    #[error("a field of its head is malformed")]
    Field,
    /// Nobody can know where its body ends (RFC 9112, 6.3).
    #[error("its head contradicts itself about the length of the body")]
    Framing,
    /// It doesn't come to its end.
    #[error("its head is longer than 512 KiB")]
    TooLong,
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) framing: Framing,
    /// Whether the origin takes another request behind this one (RFC 9112, 9.3).
    pub(super) keeps: bool,
}

/// Writes the head of `request`, whose framing stands in its headers.
pub(super) fn write<B>(request: &Request<B>, has_body: bool) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(request.method().as_str().as_bytes());
    head.push(b' ');
    match request.uri() {
        uri if uri.authority().is_some() => head.extend_from_slice(uri.to_string().as_bytes()),
        uri => {
            let target = uri.path_and_query().map_or("/", |target| target.as_str());
            head.extend_from_slice(target.as_bytes());
        }
    }
    head.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in request.headers() {
        if !has_body && *name == header::TRANSFER_ENCODING {
            continue;
        }
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// How the headers of a request say where its body ends.
pub(super) fn length(headers: &HeaderMap) -> Length {
    let length = headers.get(header::CONTENT_LENGTH);
    match length.and_then(|length| length.to_str().ok()?.parse().ok()) {
        Some(length) if !headers.contains_key(header::TRANSFER_ENCODING) => Length::Known(length),
        _ => Length::Chunked,
    }
}

/// Takes the head of an answer to a request of `method` out of what was `unread`; nothing as long
/// as it isn't whole. `looked_at` bytes are known not to hold its end.
///
/// # Errors
///
/// When it can't be read.
pub(super) fn take(
    unread: &mut BytesMut,
    looked_at: &mut usize,
    method: &Method,
) -> Result<Option<Head>, HeadError> {
    if *looked_at == 0 {
        // What some servers put behind a body before (RFC 9112, 2.2).
        let empty_lines = unread.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        unread.advance(empty_lines);
    }
    let Some(end) = head_end(unread, *looked_at) else {
        *looked_at = unread.len();
        return if unread.len() > LONGEST { Err(HeadError::TooLong) } else { Ok(None) };
    };
    *looked_at = 0;
    read(&unread.split_to(end).freeze(), method).map(Some)
}

fn read(bytes: &Bytes, method: &Method) -> Result<Head, HeadError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let status = ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields)
        .map_err(HeadError::Malformed)?;
    // The end was found by its empty line, so there is no other.
    if status != Status::Complete(bytes.len()) {
        return Err(HeadError::Malformed(httparse::Error::NewLine));
    }
    let code = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let code = code.ok_or(HeadError::Malformed(httparse::Error::Status))?;
    let version = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };

    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| HeadError::Field)?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))
            .map_err(|_| HeadError::Field)?;
        headers.append(name, value);
    }

    let framing = framing(method, code, version, &headers)?;
    let keeps = match version {
        Version::HTTP_10 => has_token(&headers, &header::CONNECTION, b"keep-alive"),
        _ => !has_token(&headers, &header::CONNECTION, b"close"),
    };
    let keeps = keeps && !matches!(framing, Framing::UntilClose);
    let mut response = Response::new(());
    *response.status_mut() = code;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    // A reason in words of the origin's own.
    if let Some(reason) = parsed.reason.filter(|reason| code.canonical_reason() != Some(reason))
        && let Some(reason) = Reason::new(reason.as_bytes())
    {
        response.extensions_mut().insert(reason);
    }
    Ok(Head { response, framing, keeps })
}

/// Where the body of an answer ends (RFC 9112, 6.3).
fn framing(
    method: &Method,
    status: StatusCode,
    version: Version,
    headers: &HeaderMap,
) -> Result<Framing, HeadError> {
    let is_bodiless = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if is_bodiless {
        return Ok(Framing::Over);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter().flat_map(tokens);
    if let Some(coding) = codings.next() {
        // 1.0 knows none: whoever reads it by that version sees another end (RFC 9112, 6.1). Others
        // than chunks nobody has asked for, and they would be passed on unread.
        let is_chunked = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
        return match version != Version::HTTP_10 && is_chunked {
            true => Ok(Framing::Chunked(Chunked::default())),
            false => Err(HeadError::Framing),
        };
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(Framing::UntilClose) };
    if lengths.any(|other| other != length) {
        return Err(HeadError::Framing);
    }
    let is_number = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    let length = length.to_str().ok().filter(|_| is_number).and_then(|length| length.parse().ok());
    length.map(Framing::of_length).ok_or(HeadError::Framing)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    let mut tokens = headers.get_all(name).iter().flat_map(tokens);
    tokens.any(|listed| listed.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(head: &str, method: &Method) -> Result<Head, HeadError> {
        let mut unread = BytesMut::from(head);
        let mut looked_at = 0;
        take(&mut unread, &mut looked_at, method).map(|head| head.expect("the head is whole"))
    }

    fn get(fields: &str) -> Result<Head, HeadError> {
        whole(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), &Method::GET)
    }

    #[test]
    fn a_request_is_written_to_the_letter() {
        let request = |uri: &str| {
            let request =
                Request::post(uri).header("Host", "a.test").header("transfer-encoding", "chunked");
            request.body(()).unwrap()
        };
        let text =
            |request: Request<()>, has_body| String::from_utf8(write(&request, has_body)).unwrap();
        assert_eq!(
            text(request("/p?q"), true),
            "POST /p?q HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        assert_eq!(text(request("*"), false), "POST * HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert_eq!(
            text(request("http://a.test:81/p"), false),
            "POST http://a.test:81/p HTTP/1.1\r\nhost: a.test\r\n\r\n"
        );
    }

    #[test]
    fn a_head_ends_where_it_ends_however_it_is_cut() {
        for text in [
            "HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\nA: 1\nContent-Length: 3\n\nabc",
            "\r\n\r\nHTTP/1.1 200 \r\na:1\r\ncontent-length:3\r\n\r\nabc",
        ] {
            for size in 1..text.len() {
                let mut unread = BytesMut::new();
                let mut looked_at = 0;
                let mut heads = text.as_bytes().chunks(size).filter_map(|piece| {
                    unread.extend_from_slice(piece);
                    take(&mut unread, &mut looked_at, &Method::GET).unwrap()
                });
                let head = heads.next().unwrap();
                assert!(heads.next().is_none());
                assert_eq!(head.response.headers()["a"], "1");
                assert!(matches!(head.framing, Framing::Length(3)));
                assert!(b"abc".starts_with(&unread) || unread == "abc", "{unread:?}");
            }
        }
    }

    #[test]
    fn the_end_of_a_body_is_known() {
        let framing = |fields| get(fields).unwrap().framing;
        assert!(matches!(framing("content-length: 5\r\n"), Framing::Length(5)));
        assert!(matches!(
            framing("content-length: 5\r\ncontent-length: 5\r\n"),
            Framing::Length(5)
        ));
        assert!(matches!(framing("transfer-encoding: chunked\r\n"), Framing::Chunked(_)));
        assert!(matches!(framing("transfer-encoding: Chunked\r\n"), Framing::Chunked(_)));
        let both = "transfer-encoding: chunked\r\ncontent-length: 5\r\n";
        assert!(matches!(framing(both), Framing::Chunked(_)));
        assert!(matches!(framing(""), Framing::UntilClose));
        for (method, status) in
            [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304), (Method::GET, 103)]
        {
            let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\n\r\n");
            assert!(whole(&text, &method).unwrap().framing.is_over());
        }
    }

    #[test]
    fn a_body_whose_end_is_in_doubt_is_refused() {
        for fields in [
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: 5, 5\r\n",
            "content-length: +5\r\n",
            "content-length: -5\r\n",
            "content-length: \r\n",
            "content-length: 0x5\r\n",
            "content-length: 18446744073709551616\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: gzip\r\n",
            "transfer-encoding: identity\r\n",
            "transfer-encoding: chunked, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: gzip\r\n",
        ] {
            assert!(matches!(get(fields), Err(HeadError::Framing)), "{fields}");
        }
        let old = "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert!(matches!(whole(old, &Method::GET), Err(HeadError::Framing)));
    }

    #[test]
    fn heads_that_are_none_are_refused() {
        for text in [
            "SSH-2.0-x\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 99 X\r\n\r\n",
            "HTTP/1.1 20 X\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: 1\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: \x01\r\n\r\n",
        ] {
            assert!(whole(text, &Method::GET).is_err(), "{text}");
        }
        let many = "a: 1\r\n".repeat(MAX_HEADERS + 1);
        assert!(matches!(get(&many), Err(HeadError::Malformed(httparse::Error::TooManyHeaders))));
        assert!(get(&"a: 1\r\n".repeat(MAX_HEADERS)).is_ok());
        let long = vec![b'x'; LONGEST + 1];
        let taken = take(&mut BytesMut::from(long.as_slice()), &mut 0, &Method::GET);
        assert!(matches!(taken, Err(HeadError::TooLong)));
    }

    #[test]
    fn a_connection_is_kept_as_the_origin_says() {
        let keeps = |text: &str| whole(text, &Method::GET).unwrap().keeps;
        let sized = |line: &str, connection: &str| {
            keeps(&format!("{line}\r\ncontent-length: 0\r\nconnection: {connection}\r\n\r\n"))
        };
        assert!(sized("HTTP/1.1 200 OK", "x"));
        assert!(!sized("HTTP/1.1 200 OK", "x, Close"));
        assert!(sized("HTTP/1.0 200 OK", "Keep-Alive"));
        assert!(!sized("HTTP/1.0 200 OK", "x"));
        assert!(!keeps("HTTP/1.1 200 OK\r\n\r\n"));
    }
}
