//! Words of a server's own for a status.

use bytes::Bytes;

/// The reason of a status line where it isn't the usual one, among the extensions of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason(Bytes);

impl Reason {
    /// `words` as they came, if they may stand in a status line (RFC 9112, 4).
    pub(crate) fn new(words: &[u8]) -> Option<Self> {
        let is_legal = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        words.iter().all(is_legal).then(|| Self(Bytes::copy_from_slice(words)))
    }

    /// The words.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
