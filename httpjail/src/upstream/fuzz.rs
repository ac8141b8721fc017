//! What reading the answers of proxies and origins promises for any bytes.

pub use super::http1::fuzz::answer;
use super::via::{HEAD_END, status, taken};

/// Holds the answer at the start of `bytes` to end where it ends however it is cut, with the first
/// empty line, and to have the same status.
pub fn proxy_answer(bytes: &[u8]) {
    let whole = read(bytes, bytes.len().max(1));
    for size in [1, 3, 1 + bytes.len() / 3] {
        assert_eq!(read(bytes, size), whole, "in pieces of {size}");
    }
    let end = bytes.windows(HEAD_END.len()).position(|window| window == HEAD_END);
    assert_eq!(whole.map(|(length, _)| length), end.map(|at| at + HEAD_END.len()));
    if let Some((_, Some(status))) = whole {
        assert!((100..=999).contains(&status) && bytes.starts_with(b"HTTP/1."), "{status}");
    }
}

/// The length of the head, and its status, where it comes in pieces of `size`.
fn read(bytes: &[u8], size: usize) -> Option<(usize, Option<u16>)> {
    let mut length = 0;
    while let Some(ahead) = bytes.get(length..).filter(|left| !left.is_empty()) {
        length += taken(&bytes[..length], &ahead[..size.min(ahead.len())]);
        if bytes[..length].ends_with(HEAD_END) {
            return Some((length, status(&bytes[..length])));
        }
    }
    None
}
