//! What can go wrong with a message that is being read.

use std::io;

/// Why a message broke off.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The connection broke.
    #[error("read from the connection")]
    Read(#[source] io::Error),
    /// The connection ended before the message did.
    #[error("the connection ended in the middle of it")]
    Incomplete,
    /// A chunk's size or end isn't as RFC 9112, 7.1, has it.
    #[error("a chunk is malformed")]
    Chunk,
    /// What follows the last chunk isn't.
    #[error("its trailers are malformed")]
    Trailers,
}
