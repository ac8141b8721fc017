//! Messages of HTTP/1 as they arrive and leave (RFC 9112), and the connections to origins.
//!
//! A connection carries one exchange at a time, and whoever waits for something that comes over it
//! reads it: no task, no channel and no lock stand between. Only a request's body has a task of its
//! own on its way to the origin, as it may have to leave while the answer comes.

mod answer;
mod chunked;
mod connection;
mod error;
mod framing;
mod head_end;
mod reason;
mod request;
mod sending;
mod trailers;
mod transport;
mod unread;
mod writing;

pub(crate) use answer::AnswerBody;
pub(crate) use chunked::{Chunked, Decoded};
pub(crate) use connection::Http1Connection;
pub(crate) use error::MessageError;
pub(crate) use framing::Framing;
pub(crate) use head_end::head_end;
pub(crate) use reason::Reason;
pub(crate) use request::{Intake, RequestBody};
pub(crate) use sending::Sending;
pub(crate) use trailers::{announced_trailers, tokens};
pub(crate) use transport::Transport;
pub(crate) use unread::Unread;
pub(crate) use writing::{Length, Unsent, Writing};
