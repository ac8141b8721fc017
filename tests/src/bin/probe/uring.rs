//! The same connects by io_uring, which seccomp filters and system call traces don't see.

use std::os::fd::AsFd;

use httpjail_tests::act::{Refusal, Step};
use httpjail_tests::sys;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::arguments::Arguments;
use crate::datagram::sockaddr;

/// Connects a UDP socket and sends the mark, both by io_uring.
pub(crate) fn connect(arguments: &Arguments) -> Result<Value, Refusal> {
    let target = arguments.address();
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM, None).step("socket")?;
    let mut ring = io_uring::IoUring::new(2).step("io_uring_setup")?;
    sys::ring_connect(&mut ring, socket.as_fd(), &sockaddr(target)).step("IORING_OP_CONNECT")?;
    sys::ring_send(&mut ring, socket.as_fd(), arguments.mark()).step("IORING_OP_SEND")?;
    Ok(json!({ "sent": true }))
}
