//! Where a body ends, and its pieces up to there.

use bytes::BytesMut;
use http_body::SizeHint;

use super::{
    MessageError,
    chunked::{Chunked, Decoded},
};

/// How the end of a body is known (RFC 9112, 6.3).
#[derive(Debug)]
pub(crate) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// It comes in chunks.
    Chunked(Chunked),
    /// It goes on until the connection is closed.
    UntilClose,
    /// It has come to its end.
    Over,
}

impl Framing {
    /// A body of so many bytes.
    pub(crate) fn of_length(length: u64) -> Self {
        if length == 0 { Self::Over } else { Self::Length(length) }
    }

    /// Whether nothing more is to come.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Over => SizeHint::with_exact(0),
            Self::Chunked(_) | Self::UntilClose => SizeHint::new(),
        }
    }

    /// Takes the next piece out of what is `unread`.
    ///
    /// # Errors
    ///
    /// When it is malformed.
    pub(crate) fn take(&mut self, unread: &mut BytesMut) -> Result<Decoded, MessageError> {
        match self {
            Self::Over => Ok(Decoded::Over),
            Self::Chunked(chunks) => {
                let decoded = chunks.decode(unread)?;
                if chunks.is_over() {
                    *self = Self::Over;
                }
                Ok(decoded)
            }
            Self::Length(_) | Self::UntilClose if unread.is_empty() => Ok(Decoded::Nothing),
            Self::Length(left) => {
                let length =
                    usize::try_from(*left).map_or(unread.len(), |left| unread.len().min(left));
                let data = unread.split_to(length).freeze();
                *self = Self::of_length(*left - length as u64);
                Ok(Decoded::Data(data))
            }
            Self::UntilClose => Ok(Decoded::Data(unread.split().freeze())),
        }
    }
}
