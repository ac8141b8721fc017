//! Whose a TCP connection from this machine is, as the system tells everybody.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    ptr,
};

use httpjail_macos::sockets;

/// How much the table may have grown between two questions.
const SPARE: usize = 16 * 1024;
/// How often it may have grown by more.
const ATTEMPTS: usize = 8;

/// Asks for owners. That it can was tried.
#[derive(Debug)]
pub(crate) struct Owners(());

impl Owners {
    /// Tries it on a connection of this process's own: the table has no public description.
    ///
    /// # Errors
    ///
    /// When its owner isn't told.
    pub(crate) fn open() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = listener.local_addr()?;
        let client = TcpStream::connect(server)?;
        let own = rustix::process::geteuid().as_raw();
        match Self(()).of(client.local_addr()?, server)? {
            Some(owner) if owner == own => Ok(Self(())),
            Some(_) | None => {
                Err(io::Error::other("net.inet.tcp.pcblist_n tells another owner than it is"))
            }
        }
    }

    /// The user to whom the end at `client` of a connection to `server` belongs. `None`: nobody holds
    /// it any more, or it isn't of this machine.
    ///
    /// # Errors
    ///
    /// When the table can't be read.
    pub(crate) fn of(&self, client: SocketAddr, server: SocketAddr) -> io::Result<Option<u32>> {
        Ok(sockets::owner(&table()?, client, server))
    }
}

fn table() -> io::Result<Vec<u8>> {
    for _ in 0..ATTEMPTS {
        let mut length = 0;
        read(ptr::null_mut(), &mut length)?;
        let mut table = vec![0; length + SPARE];
        let mut length = table.len();
        match read(table.as_mut_ptr().cast(), &mut length) {
            Ok(()) => {
                table.truncate(length);
                return Ok(table);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::OutOfMemory.into())
}

/// Reads `length` bytes of the table to `into`, or, if that is null, asks how many there are.
fn read(into: *mut libc::c_void, length: &mut usize) -> io::Result<()> {
    // SAFETY: the name ends in NUL, and `into` is null or has room for `length` bytes; nothing is set.
    let failed = unsafe {
        libc::sysctlbyname(sockets::TABLE.as_ptr(), into, length, ptr::null_mut(), 0) != 0
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}
