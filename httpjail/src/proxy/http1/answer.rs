//! Writes the heads of answers, framed anew for the client that asked.

use std::{io::Write, time::SystemTime};

use http::{HeaderName, Method, Request, StatusCode, Version, header, response::Parts};
use http_body::Body;

use super::{HeadError, date};
use crate::{
    proxy::headers,
    streams::http1::{Length, Reason, announced_trailers},
};

/// What was asked, as far as the form of its answer depends on it.
pub(in crate::proxy) struct Asked {
    version: Version,
    is_head: bool,
    is_connect: bool,
    takes_trailers: bool,
}

/// How an answer goes on behind its head.
pub(in crate::proxy) struct Written {
    /// How the client is told where the body ends; `None` where there is no body.
    pub(in crate::proxy) length: Option<Length>,
    pub(in crate::proxy) trailers: Vec<HeaderName>,
    /// Whether the client may ask for something more.
    pub(in crate::proxy) keeps: bool,
}

impl Asked {
    pub(in crate::proxy) fn by<B>(request: &Request<B>) -> Self {
        Self {
            version: request.version(),
            is_head: *request.method() == Method::HEAD,
            is_connect: *request.method() == Method::CONNECT,
            takes_trailers: headers::lists(request.headers(), header::TE, b"trailers"),
        }
    }

    /// Whether an answer with this status may tell the length of its body.
    fn has_length(&self, status: StatusCode) -> bool {
        let opens = self.is_connect && status.is_success();
        let is_bare = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        !status.is_informational() && !opens && !is_bare
    }

    /// How the end of `body` is told.
    fn length_of<B: Body>(&self, status: StatusCode, body: &B) -> Option<Length> {
        if self.is_head || !self.has_length(status) {
            return None;
        }
        Some(match body.size_hint().exact() {
            _ if body.is_end_stream() => Length::Known(0),
            Some(length) => Length::Known(length),
            None if self.version == Version::HTTP_11 => Length::Chunked,
            None => Length::UntilClose,
        })
    }
}

/// Appends the head of an answer with this `body` to what is `ahead`. The client may ask for more
/// behind it if the connection `keeps`, unless the answer says otherwise.
pub(in crate::proxy) fn write<B: Body>(
    ahead: &mut Vec<u8>,
    answer: &Parts,
    body: &B,
    asked: &Asked,
    keeps: bool,
) -> Written {
    let length = asked.length_of(answer.status, body);
    let switches = answer.status == StatusCode::SWITCHING_PROTOCOLS;
    let closes = headers::lists(&answer.headers, header::CONNECTION, b"close");
    let keeps = keeps && !closes && length != Some(Length::UntilClose);

    push_status(ahead, asked.version, answer.status, answer.extensions.get::<Reason>());
    let mut has_date = false;
    for (name, value) in &answer.headers {
        match *name {
            // That of an answer to HEAD is the length that one to GET would have.
            header::CONTENT_LENGTH if !asked.is_head || !asked.has_length(answer.status) => {
                continue;
            }
            header::TRANSFER_ENCODING => continue,
            header::CONNECTION if !switches => continue,
            header::TRAILER if length != Some(Length::Chunked) => continue,
            header::DATE => has_date = true,
            _ => {}
        }
        push(ahead, name.as_str().as_bytes(), value.as_bytes());
    }
    let mut trailers = Vec::new();
    match length {
        // A Vec takes whatever it is given.
        Some(Length::Known(length)) => drop(write!(ahead, "content-length: {length}\r\n")),
        Some(Length::Chunked) => {
            push(ahead, b"transfer-encoding", b"chunked");
            if asked.takes_trailers {
                trailers = announced_trailers(&answer.headers);
            }
        }
        Some(Length::UntilClose) | None => {}
    }
    match (asked.version, keeps) {
        _ if switches || (asked.is_connect && answer.status.is_success()) => {}
        (Version::HTTP_11, false) => push(ahead, b"connection", b"close"),
        (Version::HTTP_10, true) => push(ahead, b"connection", b"keep-alive"),
        _ => {}
    }
    if !has_date {
        date::push(ahead, SystemTime::now());
    }
    ahead.extend_from_slice(b"\r\n");
    // An empty body is none: what is ahead is all.
    let length = length.filter(|length| *length != Length::Known(0));
    Written { length, trailers, keeps }
}

/// The answer to what can't be read.
pub(in crate::proxy) fn refusal(error: &HeadError) -> Vec<u8> {
    let mut head = Vec::with_capacity(128);
    push_status(&mut head, Version::HTTP_11, error.status(), None);
    push(&mut head, b"connection", b"close");
    push(&mut head, b"content-length", b"0");
    date::push(&mut head, SystemTime::now());
    head.extend_from_slice(b"\r\n");
    head
}

fn push_status(head: &mut Vec<u8>, version: Version, status: StatusCode, reason: Option<&Reason>) {
    head.extend_from_slice(match version {
        Version::HTTP_10 => b"HTTP/1.0 ",
        _ => b"HTTP/1.1 ",
    });
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    let usual = || status.canonical_reason().unwrap_or_default().as_bytes();
    head.extend_from_slice(reason.map_or_else(usual, Reason::as_bytes));
    head.extend_from_slice(b"\r\n");
}

fn push(head: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use bytes::Bytes;
    use http::Response;
    use http_body::{Frame, SizeHint};

    use super::*;

    /// A body of a length that is known or not.
    struct Of(Option<u64>);

    impl Body for Of {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }

        fn is_end_stream(&self) -> bool {
            self.0 == Some(0)
        }

        fn size_hint(&self) -> SizeHint {
            self.0.map_or_else(SizeHint::new, SizeHint::with_exact)
        }
    }

    /// The lines of an answer with these fields but for its date, and whether the connection stays.
    fn lines(
        (method, version): (&str, Version),
        (status, body): (u16, Option<u64>),
        fields: &[(&str, &str)],
    ) -> (String, bool) {
        let request = Request::builder().method(method).version(version).header("te", "trailers");
        let asked = Asked::by(&request.body(()).unwrap());
        let mut answer = Response::builder().status(status);
        for (name, value) in fields {
            answer = answer.header(*name, *value);
        }
        let mut head = Vec::new();
        let (answer, ()) = answer.body(()).unwrap().into_parts();
        let written = write(&mut head, &answer, &Of(body), &asked, true);
        let head = String::from_utf8(head).unwrap();
        let lines = head.strip_suffix("\r\n\r\n").unwrap().split("\r\n");
        let lines: Vec<_> = lines.filter(|line| !line.starts_with("date: ")).collect();
        (lines.join("|"), written.keeps)
    }

    #[test]
    fn an_answer_is_framed_for_who_asked() {
        let (get, old, head) =
            (("GET", Version::HTTP_11), ("GET", Version::HTTP_10), ("HEAD", Version::HTTP_11));
        let sized = [("content-length", "5"), ("x", "y")];
        for (asked, answer, fields, expected, keeps) in [
            (get, (200, Some(5)), &sized[..], "HTTP/1.1 200 OK|x: y|content-length: 5", true),
            (get, (200, Some(0)), &[], "HTTP/1.1 200 OK|content-length: 0", true),
            (get, (200, None), &[], "HTTP/1.1 200 OK|transfer-encoding: chunked", true),
            (get, (204, Some(0)), &[], "HTTP/1.1 204 No Content", true),
            (get, (304, Some(0)), &sized, "HTTP/1.1 304 Not Modified|x: y", true),
            (head, (200, Some(0)), &sized, "HTTP/1.1 200 OK|content-length: 5|x: y", true),
            (head, (200, None), &[], "HTTP/1.1 200 OK", true),
            (
                old,
                (200, Some(5)),
                &sized,
                "HTTP/1.0 200 OK|x: y|content-length: 5|connection: keep-alive",
                true,
            ),
            (old, (200, None), &[("trailer", "x")], "HTTP/1.0 200 OK", false),
            (
                get,
                (403, Some(0)),
                &[("connection", "close")],
                "HTTP/1.1 403 Forbidden|content-length: 0|connection: close",
                false,
            ),
            (
                get,
                (101, Some(0)),
                &[("connection", "Upgrade"), ("upgrade", "websocket")],
                "HTTP/1.1 101 Switching Protocols|connection: Upgrade|upgrade: websocket",
                true,
            ),
            (("CONNECT", Version::HTTP_11), (200, Some(0)), &[], "HTTP/1.1 200 OK", true),
            (get, (299, Some(0)), &[], "HTTP/1.1 299 |content-length: 0", true),
        ] {
            assert_eq!(lines(asked, answer, fields), (expected.to_owned(), keeps), "{asked:?}");
        }
    }

    #[test]
    fn trailers_follow_where_they_are_announced_and_wanted() {
        let (answer, ()) =
            Response::builder().header("trailer", "x-sum, host").body(()).unwrap().into_parts();
        for (wish, trailers) in [("trailers", &["x-sum"][..]), ("gzip", &[])] {
            let asked = Asked::by(&Request::builder().header("te", wish).body(()).unwrap());
            let mut head = Vec::new();
            let written = write(&mut head, &answer, &Of(None), &asked, true);
            assert_eq!(written.trailers, trailers);
        }
    }

    #[test]
    fn words_of_the_origin_s_own_are_kept_and_a_date_is_there_once() {
        let mut answer = Response::builder().header("date", "today").body(()).unwrap();
        answer.extensions_mut().insert(Reason::new(b"Fine").unwrap());
        let asked = Asked::by(&Request::new(()));
        let mut head = Vec::new();
        write(&mut head, &answer.into_parts().0, &Of(Some(0)), &asked, true);
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 Fine\r\n"), "{head}");
        assert_eq!(head.matches("date: ").count(), 1, "{head}");
    }
}
