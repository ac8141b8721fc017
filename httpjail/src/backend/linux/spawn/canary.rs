//! The canary: before the command's first instruction init tries, from inside the jail, what the
//! jail must stop. What gets through stops the run instead.
//!
//! The list is made before the clone; what init does with it neither allocates, locks nor panics.

use std::{
    ffi::CString,
    mem,
    net::{IpAddr, SocketAddr},
    os::{fd::RawFd, unix::ffi::OsStrExt},
    path::PathBuf,
    ptr,
    time::Duration,
};

use super::{
    child::{check, errno},
    error::{Failure, SpawnError, Step},
};

/// Bytes of the word by which the jail's proxy shows that it is the one that was reached.
pub const WORD: usize = 16;

/// What is tried, and what must come of it.
#[derive(Clone, Debug)]
pub struct Canary {
    /// How long all of it may take: what is to come has come by then.
    pub patience: Duration,
    /// Connections to these addresses must arrive at the jail's proxy.
    pub connections: Vec<SocketAddr>,
    /// What the proxy sends on each of them, and nobody else knows.
    pub word: [u8; WORD],
    /// Datagrams to these addresses must be refused with EPERM. They are on this machine, where
    /// one that isn't refused stays.
    pub datagrams: Vec<SocketAddr>,
    /// Packets to a port of these addresses, which must be on this machine, must be dropped on their
    /// way out: they go to what was a socket of the jail's when the connect program was asked, and
    /// is none when they are sent.
    pub packets: Vec<IpAddr>,
    /// These files must not open for writing.
    pub files: Vec<PathBuf>,
}

impl Default for Canary {
    /// Nothing.
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(3),
            connections: Vec::new(),
            word: [0; WORD],
            datagrams: Vec::new(),
            packets: Vec::new(),
            files: Vec::new(),
        }
    }
}

/// The same, in the kernel's terms.
#[derive(Debug)]
pub(super) struct Attempts {
    /// In milliseconds.
    patience: i64,
    connections: Vec<Connection>,
    word: [u8; WORD],
    datagrams: Vec<Address>,
    packets: Vec<Address>,
    files: Vec<CString>,
}

impl Attempts {
    /// Gets ready for the child.
    pub(super) fn plan(canary: &Canary) -> Result<Self, SpawnError> {
        let file = |path: &PathBuf| {
            let nul = |_| SpawnError::Nul(path.clone().into());
            CString::new(path.as_os_str().as_bytes()).map_err(nul)
        };
        let connection = |to: &SocketAddr| Connection { to: Address::from(*to), socket: -1 };
        Ok(Self {
            patience: i64::try_from(canary.patience.as_millis()).unwrap_or(i64::MAX),
            connections: canary.connections.iter().map(connection).collect(),
            word: canary.word,
            datagrams: canary.datagrams.iter().map(|to| Address::from(*to)).collect(),
            packets: canary.packets.iter().map(|to| SocketAddr::new(*to, 0).into()).collect(),
            files: canary.files.iter().map(file).collect::<Result<_, _>>()?,
        })
    }

    /// Tries all. Async-signal-safe. The proxy answers while the rest is tried.
    pub(super) fn make(&mut self) -> Result<(), Failure> {
        let deadline = now().saturating_add(self.patience);
        for connection in &mut self.connections {
            connection.open()?;
        }
        self.datagrams.iter().try_for_each(refuses_datagram)?;
        self.packets.iter().try_for_each(drops_packet)?;
        refuses_raw_socket()?;
        self.files.iter().try_for_each(refuses_writing)?;
        let word = &self.word;
        self.connections.iter().try_for_each(|connection| connection.brings(word, deadline))
    }
}

/// A connection that the jail's programs must turn to its proxy.
#[derive(Debug)]
struct Connection {
    to: Address,
    socket: RawFd,
}

impl Connection {
    /// Begins it; it comes about meanwhile.
    fn open(&mut self) -> Result<(), Failure> {
        const STEP: Step = Step::TurnConnection;
        // A reset at the close: nothing of it stays behind.
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        self.socket = self.to.socket(libc::SOCK_STREAM | libc::SOCK_NONBLOCK, STEP)?;
        set(self.socket, libc::SO_LINGER, &linger)?;
        match self.to.connect(self.socket, STEP) {
            Ok(()) | Err(Failure { errno: libc::EINPROGRESS, .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Closes it when the proxy's word has come.
    fn brings(&self, word: &[u8; WORD], deadline: i64) -> Result<(), Failure> {
        let mut came = [0_u8; WORD];
        let mut length = 0;
        while let Some(rest) = came.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match self.receive(rest, deadline)? {
                0 => break,
                more => length += more,
            }
        }
        // SAFETY: the descriptor is this function's to close.
        unsafe { libc::close(self.socket) };
        if length != WORD || came != *word {
            return Err(Failure { step: Step::TurnConnection, errno: libc::EBADMSG });
        }
        Ok(())
    }

    /// The length of what came next; none at the connection's end.
    fn receive(&self, place: &mut [u8], deadline: i64) -> Result<usize, Failure> {
        const STEP: Step = Step::TurnConnection;
        loop {
            let left = deadline.saturating_sub(now()).clamp(0, i64::from(libc::c_int::MAX));
            let mut readable = libc::pollfd { fd: self.socket, events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid pollfd; a buffer that is valid for its length.
            let received = unsafe {
                if libc::poll(&raw mut readable, 1, left as libc::c_int) == 0 {
                    return Err(Failure { step: STEP, errno: libc::ETIMEDOUT });
                }
                libc::recv(self.socket, place.as_mut_ptr().cast(), place.len(), 0)
            };
            match usize::try_from(received) {
                Ok(length) => return Ok(length),
                Err(_) if matches!(errno(), libc::EAGAIN | libc::EINTR) => {}
                Err(_) => return Err(Failure { step: STEP, errno: errno() }),
            }
        }
    }
}

/// Milliseconds of a clock that nobody sets.
fn now() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is valid for writes; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000)
}

fn refuses_datagram(to: &Address) -> Result<(), Failure> {
    const STEP: Step = Step::RefuseDatagram;
    let socket = to.socket(libc::SOCK_DGRAM, STEP)?;
    // SAFETY: one byte and an address, each valid for its length.
    let sent =
        unsafe { libc::sendto(socket, c"".as_ptr().cast(), 1, 0, to.as_ptr(), to.length) as RawFd };
    let refused = refused(STEP, sent, &[libc::EPERM]);
    // SAFETY: made above, and used by nobody else.
    unsafe { libc::close(socket) };
    refused
}

/// The connect program passes a socket's way to another of the jail's. When that one is gone only
/// the egress program is left, which sees every packet.
fn drops_packet(to: &Address) -> Result<(), Failure> {
    const STEP: Step = Step::DropPacket;
    let peer = to.socket(libc::SOCK_DGRAM, STEP)?;
    let socket = to.socket(libc::SOCK_DGRAM, STEP)?;
    let connected = to.bind(peer, STEP).and_then(|bound| bound.connect(socket, STEP));
    // SAFETY: one byte, valid for its length. Both sockets were made above, and are used by nobody
    // else.
    let sent = unsafe {
        libc::close(peer);
        libc::send(socket, c"".as_ptr().cast(), 1, 0) as RawFd
    };
    let dropped = connected.and_then(|()| refused(STEP, sent, &[libc::EPERM]));
    // SAFETY: as above.
    unsafe { libc::close(socket) };
    dropped
}

fn refuses_raw_socket() -> Result<(), Failure> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes plain numbers.
    let socket = unsafe { libc::socket(libc::AF_INET, kind, libc::IPPROTO_RAW) };
    refused(Step::RefuseRawSocket, socket, &[libc::EPERM])
}

/// Where the jail doesn't see the file it can't write it. The mount has to be read-only, too: a plain
/// user is refused by the file's mode alone, which a delegated cgroup's would not do.
fn refuses_writing(path: &CString) -> Result<(), Failure> {
    const STEP: Step = Step::RefuseCgroups;
    let mut mount = mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path is NUL-terminated, the buffer valid for writes; it is read only when filled.
    unsafe {
        match check(STEP, libc::statvfs(path.as_ptr(), mount.as_mut_ptr()).into()) {
            Ok(()) if mount.assume_init_ref().f_flag & libc::ST_RDONLY != 0 => {}
            Ok(()) => return Err(Failure { step: STEP, errno: 0 }),
            Err(Failure { errno: libc::ENOENT, .. }) => return Ok(()),
            Err(failure) => return Err(failure),
        }
    }
    // SAFETY: as above.
    let file = unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    refused(STEP, file, &[libc::EROFS, libc::EACCES, libc::EPERM])
}

/// Whether the call failed as it must. What it made otherwise goes with the process.
fn refused(step: Step, result: RawFd, refusals: &[libc::c_int]) -> Result<(), Failure> {
    let errno = if result == -1 { errno() } else { 0 };
    if refusals.contains(&errno) { Ok(()) } else { Err(Failure { step, errno }) }
}

fn set<T>(socket: RawFd, name: libc::c_int, value: &T) -> Result<(), Failure> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value is valid for its size.
    let set = unsafe {
        let value = ptr::from_ref(value).cast();
        libc::setsockopt(socket, libc::SOL_SOCKET, name, value, length)
    };
    check(Step::TurnConnection, set.into())
}

/// A socket address as the kernel takes it.
struct Address {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl Address {
    fn family(&self) -> libc::c_int {
        self.storage.ss_family.into()
    }

    fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    fn connect(&self, socket: RawFd, step: Step) -> Result<(), Failure> {
        // SAFETY: the address is valid for its length.
        check(step, unsafe { libc::connect(socket, self.as_ptr(), self.length) }.into())
    }

    /// Binds a socket to it; where it is then, with the port that the kernel chose.
    fn bind(&self, socket: RawFd, step: Step) -> Result<Self, Failure> {
        // SAFETY: as in `connect`; all zeroes is an address, and its storage has room for any.
        unsafe {
            check(step, libc::bind(socket, self.as_ptr(), self.length).into())?;
            let mut bound = Self { storage: mem::zeroed(), length: self.length };
            let place = (&raw mut bound.storage).cast();
            check(step, libc::getsockname(socket, place, &raw mut bound.length).into())?;
            Ok(bound)
        }
    }

    fn socket(&self, kind: libc::c_int, step: Step) -> Result<RawFd, Failure> {
        // SAFETY: socket takes plain numbers.
        let socket = unsafe { libc::socket(self.family(), kind | libc::SOCK_CLOEXEC, 0) };
        check(step, socket.into())?;
        Ok(socket)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        // SAFETY: all zeroes is a valid address of no family.
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let place = &raw mut storage;
        let length = match address {
            SocketAddr::V4(v4) => {
                let address = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                    sin_zero: [0; 8],
                };
                // SAFETY: the storage has room and alignment for every kind of address.
                unsafe { place.cast::<libc::sockaddr_in>().write(address) };
                size_of_val(&address)
            }
            SocketAddr::V6(v6) => {
                let address = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { place.cast::<libc::sockaddr_in6>().write(address) };
                size_of_val(&address)
            }
        };
        Self { storage, length: length as libc::socklen_t }
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").field("family", &self.family()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inside a jail the filter refuses it; that twin is every run.
    #[test]
    fn sees_that_a_raw_socket_is_made() {
        assert!(rustix::process::geteuid().is_root(), "this test needs root");
        let failure = Failure { step: Step::RefuseRawSocket, errno: 0 };
        assert_eq!(refuses_raw_socket(), Err(failure));
    }

    #[test]
    fn sees_that_a_file_can_be_written() {
        let path = |path: &str| CString::new(path).unwrap();
        assert_eq!(refuses_writing(&path("/no/such/file")), Ok(()));
        let failure = Failure { step: Step::RefuseCgroups, errno: 0 };
        assert_eq!(refuses_writing(&path("/dev/null")), Err(failure));
    }
}
