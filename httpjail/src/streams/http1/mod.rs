//! Answers of HTTP/1 as they arrive (RFC 9112), and the connections that they arrive over.
//!
//! A connection carries one exchange at a time, and whoever waits for its answer reads it: no task,
//! no channel and no lock stand between. Only a request's body has a task of its own, as it may have
//! to leave while the answer comes.

mod answer;
mod chunked;
mod connection;
mod sending;
mod transport;

pub(crate) use answer::{AnswerBody, AnswerError, Framing};
pub(crate) use chunked::Chunked;
pub(crate) use connection::Http1Connection;
pub(crate) use sending::{Length, Sending};
pub(crate) use transport::Transport;
