//! What reading an origin's answer promises for any bytes.

use bytes::BytesMut;
use http::Method;

use super::head::take;
use crate::streams::http1::{Chunked, Framing};

/// Holds the answer at the start of `bytes` to be read alike however it is cut.
pub fn answer(bytes: &[u8]) {
    let whole = read(bytes, bytes.len().max(1));
    for size in [1, 3, 1 + bytes.len() / 3] {
        assert_eq!(read(bytes, size), whole, "in pieces of {size}");
    }
}

/// What is read where it comes in pieces of `size`: the head, a chunked body, and how much is left
/// behind them.
fn read(bytes: &[u8], size: usize) -> String {
    let mut unread = BytesMut::new();
    let mut looked_at = 0;
    let mut came = 0;
    let mut text = String::new();
    let mut body = None;
    for piece in bytes.chunks(size) {
        unread.extend_from_slice(piece);
        came += piece.len();
        if body.is_none() {
            match take(&mut unread, &mut looked_at, &Method::GET) {
                Ok(None) => continue,
                Ok(Some(head)) => {
                    text = format!("{:?}", head.response);
                    match head.framing {
                        Framing::Chunked(chunks) => body = Some(chunks),
                        framing => return format!("{text} {framing:?} {}", came - unread.len()),
                    }
                }
                Err(error) => return format!("{error:?}"),
            }
        }
        let chunks = body.get_or_insert_with(Chunked::default);
        match chunks.read_all(&mut unread) {
            Ok(None) => {}
            Ok(Some(trailers)) => return format!("{text} {trailers:?} {}", came - unread.len()),
            Err(error) => return format!("{text} {error}"),
        }
    }
    format!("{text} and more is to come")
}
