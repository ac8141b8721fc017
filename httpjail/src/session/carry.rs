//! Carries bytes between sockets outside and the command's standard streams, and looks at none.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown},
};

/// As much as is on its way in one direction, beside what the kernel holds.
const BUFFER: usize = 64 * 1024;

/// A socket outside, and our end of what the command has in its place.
pub(super) struct Line {
    outer: OwnedFd,
    inner: OwnedFd,
    /// None once nothing more can come in.
    inbound: Option<Way>,
    /// None once nothing more can go out.
    outbound: Option<Way>,
}

/// Carries until the command has closed all its streams, and has got rid of all that it wrote; or until
/// nobody outside takes it.
///
/// # Errors
///
/// When the wait itself fails.
pub(super) fn carry(mut lines: Vec<Line>) -> io::Result<()> {
    while !lines.is_empty() {
        let mut fds: Vec<_> = lines.iter().flat_map(Line::interests).collect();
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        drop(fds);
        lines.iter_mut().for_each(Line::advance);
        lines.retain(|line| line.inbound.is_some() || line.outbound.is_some());
    }
    Ok(())
}

impl Line {
    /// `reads`: the command reads from it. What nobody reads isn't taken from others who may.
    pub(super) fn new(outer: OwnedFd, inner: OwnedFd, reads: bool) -> Self {
        if !reads {
            let _ = shutdown(&inner, Shutdown::Write);
        }
        let inbound = reads.then(Way::new);
        Self { outer, inner, inbound, outbound: Some(Way::new()) }
    }

    /// What to wait for. The end of the command's side shows whatever is asked for.
    fn interests(&self) -> Vec<PollFd<'_>> {
        let inbound = self.inbound.as_ref().map(Way::is_empty);
        let outbound = self.outbound.as_ref().map(Way::is_empty);
        let flags = |reads, writes| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads == Some(true));
            flags.set(PollFlags::OUT, writes == Some(false));
            flags
        };
        let (outer, inner) = (flags(inbound, outbound), flags(outbound, inbound));
        let mut fds = Vec::with_capacity(2);
        // An end of the other side shows here, too, and may have no consequence yet.
        if !outer.is_empty() {
            fds.push(PollFd::from_borrowed_fd(self.outer.as_fd(), outer));
        }
        if !inner.is_empty() || inbound.is_some() {
            fds.push(PollFd::from_borrowed_fd(self.inner.as_fd(), inner));
        }
        fds
    }

    /// Carries what can be carried without waiting.
    fn advance(&mut self) {
        let (outer, inner) = (self.outer.as_fd(), self.inner.as_fd());
        if let Some(way) = &mut self.inbound {
            match way.advance(outer, inner) {
                Progress::Goes if !hung_up(inner) => {}
                Progress::Ended => {
                    let _ = shutdown(inner, Shutdown::Write);
                    self.inbound = None;
                }
                // Nobody is left to read.
                Progress::Goes | Progress::Broken => self.inbound = None,
            }
        }
        if let Some(way) = &mut self.outbound {
            match way.advance(inner, outer) {
                Progress::Goes => {}
                Progress::Ended => {
                    // A command that only closes, or ends, leaves the socket to others who hold it.
                    // So does, for now, one that ends its side after the stranger did: it looks alike.
                    if !hung_up(inner) {
                        let _ = shutdown(outer, Shutdown::Write);
                    }
                    self.outbound = None;
                }
                Progress::Broken => {
                    // The command's next write fails, as it would without us.
                    let _ = shutdown(inner, Shutdown::Read);
                    way.discard(inner);
                    self.outbound = None;
                }
            }
        }
    }
}

/// Whether a socket of a pair has no other end any more.
fn hung_up(socket: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

/// One direction.
struct Way {
    bytes: Box<[u8]>,
    /// Those that wait to be sent.
    start: usize,
    end: usize,
}

enum Progress {
    /// More may come.
    Goes,
    /// All that came was sent.
    Ended,
    /// Nobody takes what came.
    Broken,
}

impl Way {
    fn new() -> Self {
        Self { bytes: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn advance(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Progress {
        if self.is_empty() {
            match recv(from, &mut self.bytes[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Progress::Ended,
                Ok((length, _)) => (self.start, self.end) = (0, length),
                Err(Errno::AGAIN | Errno::INTR) => return Progress::Goes,
                // Broken off, or never connected: nothing more comes.
                Err(_) => return Progress::Ended,
            }
        }
        let waiting = self.bytes.get(self.start..self.end).unwrap_or_default();
        match send(to, waiting, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => self.start += sent,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return Progress::Broken,
        }
        Progress::Goes
    }

    /// Takes the rest of what has come, where nothing more can: a socket that is closed with
    /// something unread resets the other end, which has to learn of a broken pipe.
    fn discard(&mut self, from: BorrowedFd<'_>) {
        while let Ok((1.., _)) = recv(from, &mut self.bytes[..], RecvFlags::DONTWAIT) {}
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{Shutdown, TcpListener, TcpStream},
        os::unix::net::UnixStream,
        thread,
    };

    use super::*;

    /// A stranger, a command, and a thread that carries between them.
    struct Carried {
        stranger: UnixStream,
        command: UnixStream,
        /// As somebody outside holds it, too.
        outer: UnixStream,
        carries: thread::JoinHandle<io::Result<()>>,
    }

    fn carried(reads: bool) -> Carried {
        let (stranger, outer) = UnixStream::pair().unwrap();
        let (inner, command) = UnixStream::pair().unwrap();
        let line = Line::new(outer.try_clone().unwrap().into(), inner.into(), reads);
        Carried { stranger, command, outer, carries: thread::spawn(|| carry(vec![line])) }
    }

    fn all(mut stream: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn carries_both_ways_and_keeps_half_closes() {
        let Carried { mut stranger, mut command, outer: _outer, carries } = carried(true);
        command.write_all(b"question").unwrap();
        command.shutdown(Shutdown::Write).unwrap();
        assert_eq!(all(&stranger), b"question", "while others hold the socket");
        stranger.write_all(b"answer").unwrap();
        stranger.shutdown(Shutdown::Write).unwrap();
        assert_eq!(all(&command), b"answer");
        drop(command);
        carries.join().unwrap().unwrap();
    }

    #[test]
    fn delivers_all_to_a_slow_reader_after_the_command_has_ended() {
        let Carried { stranger, mut command, outer, carries } = carried(true);
        drop(outer);
        let sent: Vec<u8> = (0..4_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
        let expected = sent.clone();
        let writes = thread::spawn(move || command.write_all(&sent).unwrap());
        let mut stranger = stranger;
        let mut got = Vec::new();
        let mut piece = [0; 999];
        while let length @ 1.. = stranger.read(&mut piece).unwrap() {
            got.extend_from_slice(&piece[..length]);
        }
        assert!(got == expected);
        writes.join().unwrap();
        carries.join().unwrap().unwrap();
    }

    #[test]
    fn a_full_direction_does_not_hold_up_the_other() {
        let Carried { mut stranger, mut command, outer: _outer, carries } = carried(true);
        // Nobody reads it.
        stranger.set_nonblocking(true).unwrap();
        while stranger.write(&[0; 4096]).is_ok() {}
        command.write_all(b"answer").unwrap();
        stranger.set_nonblocking(false).unwrap();
        let mut answer = [0; 6];
        stranger.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
        drop(command);
        carries.join().unwrap().unwrap();
    }

    #[test]
    fn a_stranger_who_has_left_ends_the_commands_output() {
        let Carried { stranger, mut command, outer, carries } = carried(true);
        drop((stranger, outer));
        assert_eq!(all(&command), b"");
        let refused = loop {
            if let Err(error) = command.write(b"x") {
                break error;
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
        carries.join().unwrap().unwrap();
    }

    #[test]
    fn takes_nothing_from_a_socket_that_the_command_does_not_read() {
        let Carried { mut stranger, mut command, mut outer, carries } = carried(false);
        stranger.write_all(b"for others").unwrap();
        assert_eq!(all(&command), b"");
        command.write_all(b"output").unwrap();
        drop(command);
        carries.join().unwrap().unwrap();
        let mut left = [0; 10];
        outer.read_exact(&mut left).unwrap();
        assert_eq!(&left, b"for others");
        stranger.read_exact(&mut left[..6]).unwrap();
        outer.write_all(b"!").unwrap();
        assert_eq!(stranger.read(&mut left).unwrap(), 1, "it was not shut down");
    }

    #[test]
    fn leaves_descriptors_that_are_sent_behind() {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
        let Carried { stranger, command, outer: _outer, carries } = carried(true);
        let (sent, mut watched) = UnixStream::pair().unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [sent.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        let word = [io::IoSlice::new(b"w")];
        sendmsg(&command, &word, &mut ancillary, SendFlags::empty()).unwrap();
        drop(sent);
        // Its last holder is the message, which ends when it is read.
        assert_eq!(watched.read(&mut [0]).unwrap(), 0);
        drop(command);
        carries.join().unwrap().unwrap();
        let mut word = [0; 1];
        (&stranger).read_exact(&mut word).unwrap();
        assert_eq!(&word, b"w");
    }

    #[test]
    fn carries_for_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stranger = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (inner, mut command) = UnixStream::pair().unwrap();
        let line = Line::new(listener.accept().unwrap().0.into(), inner.into(), true);
        let carries = thread::spawn(|| carry(vec![line]));
        (&stranger).write_all(b"question").unwrap();
        stranger.shutdown(Shutdown::Write).unwrap();
        assert_eq!(all(&command), b"question");
        command.write_all(b"answer").unwrap();
        drop(command);
        carries.join().unwrap().unwrap();
        assert_eq!(all(&stranger), b"answer");
    }
}
