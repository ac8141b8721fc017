//! What reading a request promises for any bytes.

use bytes::BytesMut;

use super::head::{Progress, take};
use crate::streams::http1::Framing;

/// Holds the request at the start of `bytes` to be read alike however it is cut.
pub fn request(bytes: &[u8]) {
    let whole = read(bytes, bytes.len().max(1));
    for size in [1, 3, 1 + bytes.len() / 3] {
        assert_eq!(read(bytes, size), whole, "in pieces of {size}");
    }
}

/// What is read where it comes in pieces of `size`: the head, a chunked body, and how much is left
/// behind them.
fn read(bytes: &[u8], size: usize) -> String {
    let mut unread = BytesMut::new();
    let mut progress = Progress::default();
    let mut came = 0;
    let mut text = String::new();
    let mut body = None;
    for piece in bytes.chunks(size) {
        unread.extend_from_slice(piece);
        came += piece.len();
        if body.is_none() {
            match take(&mut unread, &mut progress) {
                Ok(None) => continue,
                Ok(Some(head)) => {
                    text = format!("{:?} {} {}", head.request, head.keeps, head.upgrades);
                    match head.framing {
                        Framing::Chunked(chunks) => body = Some(chunks),
                        framing => return format!("{text} {framing:?} {}", came - unread.len()),
                    }
                }
                // Of several faults another may be seen first.
                Err(_) => return "refused".to_owned(),
            }
        }
        let Some(chunks) = &mut body else { continue };
        match chunks.read_all(&mut unread) {
            Ok(None) => {}
            Ok(Some(trailers)) => return format!("{text} {trailers:?} {}", came - unread.len()),
            Err(error) => return format!("{text} {error}"),
        }
    }
    // What isn't whole was not parsed at every cut.
    if body.is_none() && take(&mut unread, &mut Progress::default()).is_err() {
        return "refused".to_owned();
    }
    format!("{text} and more is to come")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// What heads and chunks are made of.
    const PARTS: [&str; 24] = [
        "GET / HTTP/1.1",
        "POST /p HTTP/1.0",
        "\r\n",
        "\n",
        "\r",
        " ",
        "host: a",
        "x: y",
        "content-length: 3",
        "content-length: 4",
        "transfer-encoding: chunked",
        "transfer-encoding: gzip",
        "connection: close",
        "expect: 100-continue",
        "upgrade: x",
        "trailer: x",
        "abc",
        "3",
        "0",
        ";e",
        ":",
        "\0",
        "\u{e4}",
        "\r\n\r\n",
    ];

    proptest! {
        #[test]
        fn a_request_of_any_parts_is_read_alike_however_it_is_cut(
            begins in any::<bool>(),
            parts in prop::collection::vec(prop::sample::select(&PARTS[..]), 0..30),
        ) {
            let begin = if begins { "POST / HTTP/1.1\r\n" } else { "" };
            super::request(format!("{begin}{}", parts.concat()).as_bytes());
        }
    }
}
