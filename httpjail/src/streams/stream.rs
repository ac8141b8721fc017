//! Connections of any kind.

use tokio::io::{AsyncRead, AsyncWrite};

/// A connection that is read and written.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A connection inside another, whose kind no longer shows.
pub(crate) type Boxed = Box<dyn Stream>;
