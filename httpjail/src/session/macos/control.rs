//! What this process and its roles say to each other: small messages over a pair of sockets. End of
//! file means that the other side is dead. macOS has no sockets that keep messages apart, so each has
//! its length before it.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

/// The word that a role should end.
pub(in crate::session) const STOP: &[u8] = b"stop";
/// The longest message.
const LONGEST: usize = u8::MAX as usize;

/// One end of a connection to a role.
#[derive(Debug)]
pub(in crate::session) struct Channel(UnixStream);

impl Channel {
    /// Two connected ends.
    ///
    /// # Errors
    ///
    /// What `socketpair(2)` says.
    pub(in crate::session) fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = UnixStream::pair()?;
        Ok((Self(a), Self(b)))
    }

    /// Sends one message.
    ///
    /// # Errors
    ///
    /// When it is too long, or the other side is dead.
    pub(in crate::session) fn send(&self, message: &[u8]) -> io::Result<()> {
        let length = u8::try_from(message.len()).map_err(io::Error::other)?;
        let mut framed = Vec::with_capacity(1 + LONGEST);
        framed.push(length);
        framed.extend_from_slice(message);
        (&self.0).write_all(&framed)
    }

    /// Receives one message; an empty one means that the other side is dead.
    ///
    /// # Errors
    ///
    /// What `recv(2)` says.
    pub(in crate::session) fn receive(&self) -> io::Result<Vec<u8>> {
        let mut length = [0];
        if (&self.0).read(&mut length)? == 0 {
            return Ok(Vec::new());
        }
        let mut message = vec![0; usize::from(length[0])];
        (&self.0).read_exact(&mut message)?;
        Ok(message)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_kept_apart_and_the_end_is_empty() {
        let (ours, theirs) = Channel::pair().unwrap();
        for message in [STOP, &[0, 1, 2, 3], &[7; LONGEST]] {
            theirs.send(message).unwrap();
        }
        for message in [STOP, &[0, 1, 2, 3], &[7; LONGEST]] {
            assert_eq!(ours.receive().unwrap(), message);
        }
        theirs.send(&[7; LONGEST + 1]).unwrap_err();
        drop(theirs);
        assert!(ours.receive().unwrap().is_empty());
        ours.send(STOP).unwrap_err();
    }

    #[test]
    fn it_can_be_waited_for() {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let (ours, theirs) = Channel::pair().unwrap();
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ready = || {
            let mut fds = [PollFd::from_borrowed_fd(ours.as_fd(), PollFlags::IN)];
            poll(&mut fds, Some(&at_once)).unwrap()
        };
        assert_eq!(ready(), 0);
        drop(theirs);
        assert_eq!(ready(), 1);
    }
}
