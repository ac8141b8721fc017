//! Whose a TCP connection from this machine is, as the kernel's tables tell everybody.

use std::{
    fs::File,
    io::{self, Read, Seek},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, RawFd},
    sync::{Mutex, PoisonError},
};

use super::sock_diag::SockDiag;

/// The tables by family. An IPv6 socket may carry a connection of IPv4.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// More than most tables have.
const USUAL: usize = 64 * 1024;

/// The ways to ask in the network namespace in which this was made, held open: a process that may
/// open nothing any more can still ask.
#[derive(Debug)]
pub(crate) struct Owners {
    /// Finds one connection by its ends. Not every kernel and container has it.
    diag: Option<Mutex<SockDiag>>,
    /// All connections, to be read through.
    tables: Mutex<Vec<File>>,
}

impl Owners {
    /// Opens what there is; without IPv6 there is one table.
    ///
    /// # Errors
    ///
    /// When there is no table: then nothing can be told for sure.
    pub(crate) fn open() -> io::Result<Self> {
        let diag = SockDiag::open().inspect_err(|error| {
            tracing::debug!(%error, "owners of connections are looked up in tables");
        });
        Ok(Self { diag: diag.ok().map(Mutex::new), ..Self::of_tables()? })
    }

    fn of_tables() -> io::Result<Self> {
        let [v4, v6] = TABLES.map(File::open);
        let tables = std::iter::once(v4?).chain(v6.ok()).collect();
        Ok(Self { diag: None, tables: Mutex::new(tables) })
    }

    /// Their descriptors, for a fork that keeps only such.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let diag =
            self.diag.as_ref().map(|diag| diag.lock().unwrap_or_else(PoisonError::into_inner));
        let diag = diag.map(|diag| diag.descriptor());
        tables.iter().map(AsRawFd::as_raw_fd).chain(diag).collect()
    }

    /// The user to whom the end at `client` of a connection to `server` belongs. `None`: nobody holds
    /// it any more, or it isn't of this machine.
    ///
    /// # Errors
    ///
    /// When a table can't be read.
    pub(crate) fn of(&self, client: SocketAddr, server: SocketAddr) -> io::Result<Option<u32>> {
        if let Some(diag) = &self.diag {
            let mut diag = diag.lock().map_err(|_| io::Error::other("an asker panicked"))?;
            match diag.owner(client, server) {
                // A socket that was closed has no owner any more, and is shown as root's.
                Ok(owner) => {
                    return Ok(owner.filter(|owner| owner.inode != 0).map(|owner| owner.uid));
                }
                Err(error) => tracing::debug!(%error, "the kernel doesn't tell whose a socket is"),
            }
        }
        self.in_tables(client, server)
    }

    fn in_tables(&self, client: SocketAddr, server: SocketAddr) -> io::Result<Option<u32>> {
        let mut tables = self.tables.lock().map_err(|_| io::Error::other("a reader panicked"))?;
        let mut text = Vec::with_capacity(USUAL);
        for table in tables.iter_mut() {
            text.clear();
            table.rewind()?;
            table.read_to_end(&mut text)?;
            if let Some(uid) = find(&text, client, server) {
                return Ok(Some(uid));
            }
        }
        Ok(None)
    }
}

/// Looks for the line of an open socket with these two ends (proc(5), `/proc/net/tcp`).
fn find(table: &[u8], client: SocketAddr, server: SocketAddr) -> Option<u32> {
    let is_same = |word: &str, address: SocketAddr| {
        parse(word) == Some((address.ip().to_canonical(), address.port()))
    };
    table.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let mut fields = str::from_utf8(line).ok()?.split_ascii_whitespace().skip(1);
        let (local, remote) = (fields.next()?, fields.next()?);
        if !is_same(local, client) || !is_same(remote, server) {
            return None;
        }
        let uid = fields.nth(4)?.parse().ok()?;
        // A socket that was closed has no owner any more, and is shown as root's.
        let inode = fields.nth(1)?;
        (inode != "0").then_some(uid)
    })
}

/// An address as the kernel prints it: words of 32 bits as this machine reads them, in hexadecimal.
fn parse(word: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = word.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word_at = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word_at(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word_at(at)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some((ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn tells_whose_connections_come() {
        let own = rustix::process::geteuid().as_raw();
        let both = [Owners::open().unwrap(), Owners::of_tables().unwrap()];
        assert!(both[0].diag.is_some(), "the other way is not the one that is meant");
        let places = ["127.0.0.1:0", "[::1]:0"];
        for (owners, place) in both.iter().flat_map(|owners| places.map(|place| (owners, place))) {
            let listener = TcpListener::bind(place).unwrap();
            let server = listener.local_addr().unwrap();
            let stream = TcpStream::connect(server).unwrap();
            let client = stream.local_addr().unwrap();
            let accepted = listener.accept().unwrap();
            assert_eq!(owners.of(client, server).unwrap(), Some(own), "{place}");
            assert_eq!(owners.of(client, client).unwrap(), None, "{place}");
            // Its other end is closed first, so that it waits with nobody to hold it.
            drop(stream);
            assert_eq!(owners.of(client, server).unwrap(), None, "{place}");
            drop(accepted);
        }
    }

    #[test]
    fn reads_what_the_kernel_prints() {
        if cfg!(target_endian = "little") {
            assert_eq!(parse("0100007F:1F90"), Some((Ipv4Addr::LOCALHOST.into(), 8080)));
            let mapped = "0000000000000000FFFF00000100007F:0050";
            assert_eq!(parse(mapped), Some((Ipv4Addr::LOCALHOST.into(), 80)));
            let v6 = "00000000000000000000000001000000:01BB";
            assert_eq!(parse(v6), Some((Ipv6Addr::LOCALHOST.into(), 443)));
        }
        for word in ["", ":", "0100007F", "0100007:50", "0100007F:", "x100007F:50", "0100007F:50x"]
        {
            assert_eq!(parse(word), None, "{word}");
        }
    }
}
