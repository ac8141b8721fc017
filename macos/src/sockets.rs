//! Whose a TCP connection is: from the table that netstat(1) prints, the sysctl
//! `net.inet.tcp.pcblist_n`, which everybody may read.
//!
//! Apple ships no header for it. The layout is XNU's (bsd/netinet/in_pcblist.c, `get_pcblist_n`;
//! `xinpcb_n` of bsd/netinet/in_pcb.h and `xsocket_n` of bsd/sys/socketvar.h, both packed to four
//! bytes): a header, then for each connection some records, each with its length and kind before it,
//! and each at a multiple of eight. mihomo and sing-box read the same fields at the same places.

use std::{
    ffi::CStr,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The table's name.
pub const TABLE: &CStr = c"net.inet.tcp.pcblist_n";

/// Kinds of records: the socket that a connection belongs to, and the connection, which comes first.
const SOCKET: u32 = 0x01;
const CONNECTION: u32 = 0x10;
/// Where the fields are.
const FOREIGN_PORT: usize = 16;
const LOCAL_PORT: usize = 18;
const VERSIONS: usize = 44;
const FOREIGN: usize = 48;
const LOCAL: usize = 64;
const UID: usize = 64;
/// An IPv4 address is in the last four of sixteen bytes.
const V4: usize = 12;
const IS_V4: u8 = 1;
const IS_V6: u8 = 2;

/// The user to whom the end at `client` of a connection to `server` belongs. `None`: the table has no
/// such connection, or can't be read.
pub fn owner(table: &[u8], client: SocketAddr, server: SocketAddr) -> Option<u32> {
    let mut is_it = false;
    for (kind, record) in records(table) {
        match kind {
            CONNECTION => is_it = ends(record) == Some((canonical(client), canonical(server))),
            SOCKET if is_it => return number(record, UID),
            _ => {}
        }
    }
    None
}

/// The records behind the header, with their kinds.
fn records(table: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let header = number(table, 0).and_then(padded);
    let mut rest = header.and_then(|length| table.get(length..)).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, kind) = (number(rest, 0)?, number(rest, 4)?);
        let record = rest.get(..usize::try_from(length).ok()?)?;
        // The last one may end where the table does.
        rest = rest.get(padded(length)?..).unwrap_or_default();
        Some((kind, record))
    })
}

/// Where the next record begins. `None`: none could be so short.
fn padded(length: u32) -> Option<usize> {
    let length = usize::try_from(length).ok().filter(|length| *length >= 8)?;
    length.checked_next_multiple_of(8)
}

/// The two ends of a connection, its own first.
fn ends(record: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let version = *record.get(VERSIONS)?;
    let end = |address: usize, port: usize| {
        let bytes: [u8; 16] = record.get(address..address + 16)?.try_into().ok()?;
        let port = u16::from_be_bytes(record.get(port..port + 2)?.try_into().ok()?);
        let ip: IpAddr = match version {
            // A socket of IPv6 that has come to speak IPv4 may say both.
            it if it & IS_V4 != 0 => {
                let (_, v4) = bytes.split_at(V4);
                Ipv4Addr::from(<[u8; 4]>::try_from(v4).ok()?).into()
            }
            it if it & IS_V6 != 0 => Ipv6Addr::from(bytes).into(),
            _ => return None,
        };
        Some(canonical(SocketAddr::new(ip, port)))
    };
    Some((end(LOCAL, LOCAL_PORT)?, end(FOREIGN, FOREIGN_PORT)?))
}

/// Without what only one of the two views of a connection has: the scope, and IPv6 around IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A number in the machine's own order.
fn number(record: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(record.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One connection of the table, as XNU writes it: with other records between, and of lengths that
    /// are no multiples of eight.
    fn connection(local: &str, foreign: &str, uid: u32) -> Vec<u8> {
        let (local, foreign): (SocketAddr, SocketAddr) =
            (local.parse().unwrap(), foreign.parse().unwrap());
        let mut inpcb = record(CONNECTION, 104);
        inpcb[FOREIGN_PORT..][..2].copy_from_slice(&foreign.port().to_be_bytes());
        inpcb[LOCAL_PORT..][..2].copy_from_slice(&local.port().to_be_bytes());
        inpcb[VERSIONS] = if local.is_ipv4() { IS_V4 } else { IS_V6 };
        for (at, address) in [(FOREIGN, foreign), (LOCAL, local)] {
            match address.ip() {
                IpAddr::V4(ip) => inpcb[at + V4..][..4].copy_from_slice(&ip.octets()),
                IpAddr::V6(ip) => inpcb[at..][..16].copy_from_slice(&ip.octets()),
            }
        }
        let mut socket = record(SOCKET, 76);
        socket[UID..][..4].copy_from_slice(&uid.to_ne_bytes());
        let mut all = inpcb;
        all.extend(socket);
        all.resize(all.len().next_multiple_of(8), 0);
        for kind in [0x02, 0x04, 0x08, 0x20] {
            all.extend(record(kind, 32));
        }
        all
    }

    fn record(kind: u32, length: u32) -> Vec<u8> {
        let mut record = vec![0; length as usize];
        record[..4].copy_from_slice(&length.to_ne_bytes());
        record[4..8].copy_from_slice(&kind.to_ne_bytes());
        record
    }

    fn table() -> Vec<u8> {
        let mut table = record(2, 24);
        table.extend(connection("127.0.0.1:50000", "127.0.0.1:8080", 501));
        table.extend(connection("127.0.0.1:8080", "127.0.0.1:50000", 502));
        table.extend(connection("[::1]:50000", "[::1]:8080", 503));
        table.extend(connection("[::ffff:127.0.0.1]:50001", "[::ffff:127.0.0.1]:8080", 504));
        // It begins as it ends; here, the number of connections looks like a kind.
        table.extend(record(CONNECTION, 24));
        table
    }

    fn owner(table: &[u8], client: &str, server: &str) -> Option<u32> {
        super::owner(table, client.parse().unwrap(), server.parse().unwrap())
    }

    #[test]
    fn finds_the_owner_of_the_clients_end() {
        for (client, server, uid) in [
            ("127.0.0.1:50000", "127.0.0.1:8080", Some(501)),
            ("127.0.0.1:8080", "127.0.0.1:50000", Some(502)),
            ("[::1]:50000", "[::1]:8080", Some(503)),
            ("127.0.0.1:50001", "127.0.0.1:8080", Some(504)),
            ("127.0.0.1:50001", "[::ffff:127.0.0.1]:8080", Some(504)),
            ("127.0.0.1:50002", "127.0.0.1:8080", None),
            ("127.0.0.1:50000", "127.0.0.1:8081", None),
            ("127.0.0.2:50000", "127.0.0.1:8080", None),
            ("[::1]:50000", "127.0.0.1:8080", None),
        ] {
            assert_eq!(owner(&table(), client, server), uid, "{client} to {server}");
        }
    }

    #[test]
    fn a_table_that_was_cut_names_nobody_else() {
        let whole = table();
        for end in 0..whole.len() {
            let found = owner(&whole[..end], "[::1]:50000", "[::1]:8080");
            assert!(matches!(found, None | Some(503)), "{end}: {found:?}");
        }
    }

    #[test]
    fn records_of_no_length_are_the_end() {
        for length in [0_u32, 7, u32::MAX] {
            let mut table = record(2, 24);
            table.extend(length.to_ne_bytes());
            table.extend([0; 64]);
            assert_eq!(owner(&table, "[::1]:1", "[::1]:2"), None);
        }
    }
}
