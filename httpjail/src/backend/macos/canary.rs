//! The jail is tried from inside before the command's first instruction, by the process that becomes
//! the command and as the user that the command runs as.

use std::{
    io::{self, Read},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

/// How long the proxy may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The length of the word by which the proxy is known.
pub(crate) const WORD: usize = 16;

/// What is tried.
#[derive(Clone, Debug)]
pub(crate) struct Canary {
    /// Connections to these must end at the proxy; datagrams to these must go nowhere.
    pub(crate) targets: Vec<SocketAddr>,
    /// What the proxy says to them.
    pub(crate) word: [u8; WORD],
}

/// What isn't as it should be. Between a fork and an exec, the standard library hands on the number
/// of an error alone: these are numbers that no exec returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// A connection didn't come to the proxy.
    Connection,
    /// A datagram got out.
    Datagram,
}

impl Open {
    const ALL: [Self; 2] = [Self::Connection, Self::Datagram];

    fn errno(self) -> i32 {
        match self {
            Self::Connection => libc::EHOSTDOWN,
            Self::Datagram => libc::ESHUTDOWN,
        }
    }

    /// What such a number means, if it is one.
    pub(crate) fn of(errno: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|open| open.errno() == errno)
    }
}

impl Canary {
    /// Tries the jail.
    ///
    /// # Errors
    ///
    /// One that [`Open::of`] reads.
    pub(crate) fn sing(&self) -> io::Result<()> {
        let failed = |open: Open| io::Error::from_raw_os_error(open.errno());
        for target in &self.targets {
            if !self.arrives(*target).unwrap_or(false) {
                return Err(failed(Open::Connection));
            }
            if gets_out(*target).unwrap_or(true) {
                return Err(failed(Open::Datagram));
            }
        }
        Ok(())
    }

    fn arrives(&self, target: SocketAddr) -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut word = [0; WORD];
        stream.read_exact(&mut word)?;
        Ok(word == self.word)
    }
}

/// Whether a datagram is sent. What pf blocks on its way out is an error of the call (XNU,
/// bsd/net/pf_ioctl.c, `pf_af_hook`: EHOSTUNREACH).
fn gets_out(target: SocketAddr) -> io::Result<bool> {
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    Ok(socket.send_to(b"httpjail", target).is_ok())
}
