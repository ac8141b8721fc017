//! Where a connection was meant to go before pf turned it: `DIOCNATLOOK` on `/dev/pf`.
//!
//! Apple ships no header for it. The layout is that of XNU, bsd/net/pfvar.h (struct
//! `pfioc_natlook`, `union pf_state_xport`, `DIOCNATLOOK` = `_IOWR('D', 23, …)`), which differs from
//! the other BSDs' in that a port takes four bytes. sshuttle (`sshuttle/methods/pf.py`, class
//! `Darwin`) and mitmproxy ask the same way, with the direction `PF_OUT`.

use std::{
    fs::File,
    io,
    mem::size_of,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
};

/// The device.
const DEVICE: &str = "/dev/pf";
/// `PF_OUT` of XNU's enum `PF_INOUT, PF_IN, PF_OUT`.
const PF_OUT: u8 = 2;
const IPPROTO_TCP: u8 = 6;
/// XNU's numbers (bsd/sys/socket.h), which are not those of other systems.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 30;
/// `_IOWR('D', 23, struct pfioc_natlook)`, by bsd/sys/ioccom.h: direction, size, group, number.
const DIOCNATLOOK: u32 =
    0xC000_0000 | ((size_of::<NatLook>() as u32 & 0x1fff) << 16) | ((b'D' as u32) << 8) | 23;

/// `union pf_state_xport`: a port in network order in the first two of four bytes.
#[repr(C, align(4))]
#[derive(Clone, Copy, Default)]
struct Xport {
    port: [u8; 2],
    rest: [u8; 2],
}

/// `struct pf_addr`: a union of an IPv4 and an IPv6 address, aligned as its words are.
#[repr(C, align(4))]
#[derive(Clone, Copy, Default)]
struct Addr([u8; 16]);

/// `struct pfioc_natlook`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct NatLook {
    saddr: Addr,
    daddr: Addr,
    rsaddr: Addr,
    rdaddr: Addr,
    sxport: Xport,
    dxport: Xport,
    rsxport: Xport,
    rdxport: Xport,
    af: u8,
    proto: u8,
    proto_variant: u8,
    direction: u8,
}

/// The open device.
#[derive(Debug)]
pub struct Pf(File);

impl Pf {
    /// Opens it for reading, which is root's to do. Who holds it can ask, and change nothing: XNU
    /// (bsd/net/pf_ioctl.c, `pfioctl`) lets a descriptor that isn't open for writing do that alone.
    ///
    /// # Errors
    ///
    /// When it can't be opened.
    pub fn open() -> io::Result<Self> {
        File::open(DEVICE).map(Self)
    }

    /// Where the TCP connection from `client` that was accepted at `proxy` was meant to go. `None`:
    /// pf turned no such connection, so it was made to the proxy itself.
    ///
    /// # Errors
    ///
    /// What pf says.
    pub fn original(
        &self,
        client: SocketAddr,
        proxy: SocketAddr,
    ) -> io::Result<Option<SocketAddr>> {
        let mut question = NatLook::new(client, proxy)
            .ok_or_else(|| io::Error::other("the two ends are of different families"))?;
        // SAFETY: the descriptor is open, and the kernel reads and writes one struct of the size
        // that is part of the request's number.
        let asked = unsafe {
            libc::ioctl(self.0.as_raw_fd(), DIOCNATLOOK as libc::c_ulong as _, &raw mut question)
        };
        if asked == 0 {
            return question.answer().map(Some);
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            error => Err(error),
        }
    }
}

impl NatLook {
    fn new(client: SocketAddr, proxy: SocketAddr) -> Option<Self> {
        let af = match (client, proxy) {
            (SocketAddr::V4(_), SocketAddr::V4(_)) => AF_INET,
            (SocketAddr::V6(_), SocketAddr::V6(_)) => AF_INET6,
            _ => return None,
        };
        Some(Self {
            saddr: Addr::new(client.ip()),
            daddr: Addr::new(proxy.ip()),
            sxport: Xport::new(client.port()),
            dxport: Xport::new(proxy.port()),
            af,
            proto: IPPROTO_TCP,
            direction: PF_OUT,
            ..Self::default()
        })
    }

    fn answer(&self) -> io::Result<SocketAddr> {
        let Addr(bytes) = self.rdaddr;
        let ip = match self.af {
            AF_INET => {
                let [a, b, c, d, ..] = bytes;
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            AF_INET6 => IpAddr::V6(Ipv6Addr::from(bytes)),
            _ => return Err(io::Error::other("pf answered with an unknown family")),
        };
        Ok(SocketAddr::new(ip, u16::from_be_bytes(self.rdxport.port)))
    }
}

impl Addr {
    fn new(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&ip.octets());
                Self(bytes)
            }
            IpAddr::V6(ip) => Self(ip.octets()),
        }
    }
}

impl Xport {
    fn new(port: u16) -> Self {
        Self { port: port.to_be_bytes(), rest: [0; 2] }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{align_of, offset_of};

    use super::*;

    #[test]
    fn is_laid_out_as_in_xnu() {
        assert_eq!((size_of::<NatLook>(), align_of::<NatLook>()), (84, 4));
        let offsets = [
            offset_of!(NatLook, saddr),
            offset_of!(NatLook, daddr),
            offset_of!(NatLook, rsaddr),
            offset_of!(NatLook, rdaddr),
            offset_of!(NatLook, sxport),
            offset_of!(NatLook, dxport),
            offset_of!(NatLook, rsxport),
            offset_of!(NatLook, rdxport),
            offset_of!(NatLook, af),
            offset_of!(NatLook, proto),
            offset_of!(NatLook, proto_variant),
            offset_of!(NatLook, direction),
        ];
        assert_eq!(offsets, [0, 16, 32, 48, 64, 68, 72, 76, 80, 81, 82, 83]);
        assert_eq!(DIOCNATLOOK, 0xC054_4417);
    }

    #[test]
    fn asks_in_network_order_and_reads_the_answer() {
        for (client, proxy, original) in [
            ("192.0.2.7:50000", "127.0.0.1:8080", "198.51.100.1:443"),
            ("[2001:db8::7]:50000", "[::1]:8080", "[2001:db8::1]:443"),
        ] {
            let [client, proxy, original] =
                [client, proxy, original].map(|text| text.parse::<SocketAddr>().unwrap());
            let mut asked = NatLook::new(client, proxy).unwrap();
            assert_eq!(asked.sxport.port, [0xc3, 0x50]);
            assert_eq!((asked.proto, asked.direction), (6, 2));
            asked.rdaddr = Addr::new(original.ip());
            asked.rdxport = Xport::new(original.port());
            assert_eq!(asked.answer().unwrap(), original);
        }
    }

    #[test]
    fn families_do_not_mix() {
        let (v4, v6) = ("127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap());
        assert!(NatLook::new(v4, v6).is_none());
    }
}
