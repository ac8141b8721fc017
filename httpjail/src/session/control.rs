//! What the supervisor and the proxy role say to each other: fixed, small messages over a
//! sequenced-packet socket pair. End of file means that the other side is dead.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use super::refused::Refused;

/// Largest message: a PEM certificate and a path fit in it.
const MESSAGE_MAX: usize = 16 * 1024;
/// The supervisor's word that the rule's file, which comes with it, may have changed.
pub(super) const RULE: &[u8] = b"rule";
/// Most files that come with a message.
const MAX_FILES: usize = 2;
/// The supervisor's word that the proxy should end begins so, and the proxy says it when it has
/// heard that.
pub(super) const STOP: &[u8] = b"stop";

/// One end of a connection between the supervisor and a role.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Two connected ends.
    ///
    /// # Errors
    ///
    /// What `socketpair(2)` says.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC;
        let (a, b) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(a), Self(b)))
    }

    /// Sends one message.
    ///
    /// # Errors
    ///
    /// What `send(2)` says; `EPIPE` when the other side is dead.
    pub(super) fn send(&self, message: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.0, message, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Sends one message and open files, or nothing if there is no room for it.
    ///
    /// # Errors
    ///
    /// What `sendmsg(2)` says; `WouldBlock` when the other side doesn't read.
    pub(super) fn send_at_once(&self, message: &[u8], files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::sendmsg(&self.0, &[IoSlice::new(message)], &mut control, flags)?;
        Ok(())
    }

    /// Receives one message; an empty one means that the other side is dead.
    ///
    /// # Errors
    ///
    /// What `recv(2)` says.
    pub(super) fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; MESSAGE_MAX];
        let (length, _) = rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Receives one message as [`Channel::receive`] does, and the files that came with it.
    ///
    /// # Errors
    ///
    /// What `recvmsg(2)` says.
    pub(super) fn receive_files(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let mut buffer = vec![0; MESSAGE_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut buffer)];
        let length =
            rustix::net::recvmsg(&self.0, into, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        let mut files = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sent) = message {
                files.extend(sent);
            }
        }
        buffer.truncate(length);
        Ok((buffer, files))
    }

    /// Bounds how long receiving and sending wait.
    pub(super) fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        use rustix::net::sockopt::{Timeout, set_socket_timeout};
        set_socket_timeout(&self.0, Timeout::Recv, Some(timeout))?;
        set_socket_timeout(&self.0, Timeout::Send, Some(timeout))?;
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The proxy's first and only report: it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    /// The certificate of this run's CA.
    pub(super) ca_pem: String,
}

impl Ready {
    /// The message as bytes.
    pub(super) fn encode(&self) -> &[u8] {
        self.ca_pem.as_bytes()
    }

    /// Reads the message back. `None` when no certificate is in it: the proxy is dead.
    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        let ca_pem = str::from_utf8(message).ok().filter(|pem| !pem.is_empty())?.to_owned();
        Some(Self { ca_pem })
    }
}

/// The supervisor's last word: the proxy should end, and what the kernel side refused is told in the
/// records. It stands behind [`STOP`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    /// What that was.
    pub(super) refused: Refused,
}

impl Stop {
    /// The message as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        [STOP, &self.refused.encode()].concat()
    }

    /// Reads the message back. `None`: it is another.
    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        Refused::decode(message.strip_prefix(STOP)?).map(|refused| Self { refused })
    }
}

#[cfg(test)]
mod tests {
    use httpjail_common::event::RefuseReason;

    use super::*;

    #[test]
    fn ready_survives_the_channel() {
        let ready = Ready { ca_pem: "-----BEGIN CERTIFICATE-----".to_owned() };
        let (ours, theirs) = Channel::pair().unwrap();
        theirs.send(ready.encode()).unwrap();
        assert_eq!(Ready::decode(&ours.receive().unwrap()), Some(ready));
    }

    #[test]
    fn an_empty_report_is_no_report() {
        assert_eq!(Ready::decode(b""), None);
    }

    #[test]
    fn the_last_word_tells_what_was_refused() {
        let counts = vec![(RefuseReason::Protocol, 1), (RefuseReason::SharedPort, u64::MAX)];
        for counts in [vec![], counts] {
            let stop = Stop { refused: Refused { counts, told: Vec::new() } };
            assert_eq!(Stop::decode(&stop.encode()), Some(stop));
        }
        for other in [&b""[..], b"sto", b"stop\0"] {
            assert_eq!(Stop::decode(other), None);
        }
    }

    #[test]
    fn a_dead_side_reads_as_an_empty_message() {
        let (ours, theirs) = Channel::pair().unwrap();
        drop(theirs);
        assert!(ours.receive().unwrap().is_empty());
    }
}
