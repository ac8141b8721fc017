//! Takes a chunked body apart (RFC 9112, 7.1). What isn't to the letter is refused: a server and a
//! proxy that read the same bytes differently are how messages are smuggled.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::MessageError;

/// How long a chunk's line may be with its extensions, which nobody reads.
const LONGEST_LINE: usize = 4 * 1024;
/// How long all trailers may be together, and how many.
const LONGEST_TRAILERS: usize = 16 * 1024;
const MOST_TRAILERS: usize = 128;

const CRLF: &[u8] = b"\r\n";
const EMPTY_LINE: &[u8] = b"\r\n\r\n";

/// How far a chunked body was read.
#[derive(Debug, Default)]
pub(crate) enum Chunked {
    /// A chunk's line comes next.
    #[default]
    Size,
    /// So many bytes of a chunk are still to come.
    Data(u64),
    /// The end of a chunk's line comes next.
    DataEnd,
    /// All chunks have come.
    Trailers,
    /// All has come.
    Over,
}

/// What was found in the bytes at hand.
#[derive(Debug, PartialEq)]
pub(crate) enum Decoded {
    /// A piece of the body.
    Data(Bytes),
    /// What follows it, and its end.
    Trailers(HeaderMap),
    /// Its end.
    Over,
    /// Too little to tell.
    Nothing,
}

impl Chunked {
    /// Whether its end was found.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// Takes the next piece out of `unread`.
    ///
    /// # Errors
    ///
    /// When it is malformed, or longer than anybody needs.
    pub(super) fn decode(&mut self, unread: &mut BytesMut) -> Result<Decoded, MessageError> {
        loop {
            match self {
                Self::Size => {
                    let Some(line) = take_line(unread)? else { return Ok(Decoded::Nothing) };
                    *self = match size(&line).ok_or(MessageError::Chunk)? {
                        0 => Self::Trailers,
                        size => Self::Data(size),
                    };
                }
                Self::Data(left) => {
                    if unread.is_empty() {
                        return Ok(Decoded::Nothing);
                    }
                    let length =
                        usize::try_from(*left).map_or(unread.len(), |left| unread.len().min(left));
                    *self = match *left - length as u64 {
                        0 => Self::DataEnd,
                        left => Self::Data(left),
                    };
                    return Ok(Decoded::Data(unread.split_to(length).freeze()));
                }
                Self::DataEnd => {
                    if unread.len() < CRLF.len() {
                        return Ok(Decoded::Nothing);
                    }
                    if !unread.starts_with(CRLF) {
                        return Err(MessageError::Chunk);
                    }
                    unread.advance(CRLF.len());
                    *self = Self::Size;
                }
                Self::Trailers => return self.end(unread),
                Self::Over => return Ok(Decoded::Over),
            }
        }
    }

    /// Reads over a body; gives its trailers at its end.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn read_all(
        &mut self,
        unread: &mut BytesMut,
    ) -> Result<Option<HeaderMap>, MessageError> {
        loop {
            match self.decode(unread)? {
                Decoded::Data(_) => {}
                Decoded::Trailers(trailers) => return Ok(Some(trailers)),
                Decoded::Over => return Ok(Some(HeaderMap::new())),
                Decoded::Nothing => return Ok(None),
            }
        }
    }

    fn end(&mut self, unread: &mut BytesMut) -> Result<Decoded, MessageError> {
        if unread.starts_with(CRLF) {
            unread.advance(CRLF.len());
            *self = Self::Over;
            return Ok(Decoded::Over);
        }
        let end = unread.windows(EMPTY_LINE.len()).position(|window| window == EMPTY_LINE);
        let Some(end) = end else {
            let is_too_long = unread.len() > LONGEST_TRAILERS;
            return if is_too_long { Err(MessageError::Trailers) } else { Ok(Decoded::Nothing) };
        };
        let fields = unread.split_to(end + EMPTY_LINE.len()).freeze();
        *self = Self::Over;
        Ok(Decoded::Trailers(trailers(&fields).ok_or(MessageError::Trailers)?))
    }
}

/// Takes out a line, without its end.
fn take_line(unread: &mut BytesMut) -> Result<Option<Bytes>, MessageError> {
    let end = unread.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n');
    let Some(end) = end else {
        let is_too_long = unread.len() >= LONGEST_LINE;
        return if is_too_long { Err(MessageError::Chunk) } else { Ok(None) };
    };
    let line = unread.split_to(end + 1).freeze();
    let line = line.strip_suffix(CRLF).map(|stripped| line.slice_ref(stripped));
    line.map(Some).ok_or(MessageError::Chunk)
}

/// The size that a chunk's line tells.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let is_rest_legal =
        rest.trim_ascii_start().first().is_none_or(|byte| *byte == b';') && !rest.contains(&b'\r');
    if digits.is_empty() || !is_rest_legal {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn trailers(bytes: &Bytes) -> Option<HeaderMap> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_TRAILERS];
    let httparse::Status::Complete((length, fields)) =
        httparse::parse_headers(bytes, &mut fields).ok()?
    else {
        return None;
    };
    if length != bytes.len() {
        return None;
    }
    let fields = fields.iter().map(|field| {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value)).ok()?;
        Some((name, value))
    });
    let mut map = HeaderMap::new();
    for field in fields {
        let (name, value) = field?;
        map.append(name, value);
    }
    Some(map)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All of a body that comes in pieces of `size`, and what was left behind it.
    fn decode(
        bytes: &[u8],
        size: usize,
    ) -> Result<(Vec<u8>, Option<HeaderMap>, usize), MessageError> {
        let mut chunks = Chunked::default();
        let mut unread = BytesMut::new();
        let mut body = Vec::new();
        for (number, piece) in bytes.chunks(size).enumerate() {
            unread.extend_from_slice(piece);
            loop {
                match chunks.decode(&mut unread)? {
                    Decoded::Nothing => break,
                    Decoded::Data(data) => body.extend_from_slice(&data),
                    end => {
                        assert!(chunks.is_over());
                        let read = bytes.len().min((number + 1) * size);
                        let trailers = match end {
                            Decoded::Trailers(trailers) => Some(trailers),
                            _ => None,
                        };
                        return Ok((body, trailers, read - unread.len()));
                    }
                }
            }
        }
        Err(MessageError::Incomplete)
    }

    #[test]
    fn chunks_make_a_body_however_they_are_cut() {
        let bytes = b"3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n00\r\n\r\nnext";
        for size in 1..=bytes.len() {
            let (body, trailers, end) = decode(bytes, size).unwrap();
            assert_eq!((body.as_slice(), trailers), (&b"abc0123456789"[..], None));
            assert_eq!(&bytes[end..], b"next");
        }
    }

    #[test]
    fn trailers_follow() {
        let bytes = b"1 \r\na\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n";
        for size in 1..=bytes.len() {
            let (_, trailers, end) = decode(bytes, size).unwrap();
            let sums: Vec<_> = trailers.as_ref().unwrap().get_all("x-sum").iter().collect();
            assert_eq!(sums, ["1", "2"]);
            assert_eq!(end, bytes.len());
        }
    }

    #[test]
    fn what_is_not_to_the_letter_is_refused() {
        for bytes in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\na\r\n",
            b"0x1\r\na\r\n",
            b" 1\r\na\r\n",
            b"1\na\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n0\r\n\r\n",
            b"1 1\r\na\r\n",
            b"1;\ra\r\na\r\n",
            b"10000000000000000\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\n folded: 1\r\n\r\n",
        ] {
            for size in [1, bytes.len()] {
                let decoded = decode(bytes, size);
                assert!(
                    matches!(decoded, Err(MessageError::Chunk | MessageError::Trailers)),
                    "{:?}: {decoded:?}",
                    bytes.escape_ascii().to_string()
                );
            }
        }
    }

    #[test]
    fn endless_lines_and_trailers_are_given_up() {
        let line = [b"1;".as_slice(), &[b'x'; LONGEST_LINE]].concat();
        assert!(matches!(decode(&line, 100), Err(MessageError::Chunk)));
        let trailers =
            [b"0\r\n".as_slice(), &b"x: y\r\n".repeat(LONGEST_TRAILERS / 6 + 1)].concat();
        assert!(matches!(decode(&trailers, 1000), Err(MessageError::Trailers)));
    }

    proptest! {
        #[test]
        fn any_body_comes_out_as_it_went_in(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..10),
            size in 1_usize..40,
        ) {
            let mut bytes = Vec::new();
            for piece in &pieces {
                bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(CRLF);
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            let (body, _, end) = decode(&bytes, size).unwrap();
            prop_assert_eq!(body, pieces.concat());
            prop_assert_eq!(end, bytes.len());
        }

        #[test]
        fn any_bytes_are_read_alike_however_they_are_cut(bytes: Vec<u8>, size in 1_usize..9) {
            let whole = decode(&bytes, bytes.len().max(1)).map_err(|error| error.to_string());
            let cut = decode(&bytes, size).map_err(|error| error.to_string());
            prop_assert_eq!(whole, cut);
        }
    }
}
