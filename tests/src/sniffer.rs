//! What really went over the wire: every frame of the client, seen from the origins' end.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::DEADLINE;
use crate::addresses::WIRE_V4;
use crate::namespace::Namespace;
use crate::network::CLIENT_MAC;

const SENTINEL: &[u8] = b"httpjail-lab-sentinel-";
const ETH_P_ALL: u16 = 3;

/// One IP packet of the client.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The protocol after the IP header (TCP 6, UDP 17, ICMP 1, ICMPv6 58, …).
    pub protocol: u8,
    /// Where it was going.
    pub destination: IpAddr,
    /// The packet, from its IP header on.
    pub packet: Vec<u8>,
}

impl Frame {
    /// Whether the packet holds these bytes.
    #[must_use]
    pub fn holds(&self, mark: &[u8]) -> bool {
        self.packet.windows(mark.len()).any(|window| window == mark)
    }

    /// The connection that a TCP packet belongs to: where it goes, and both ports.
    pub(crate) fn tcp_flow(&self) -> Option<(IpAddr, [u8; 4])> {
        Some((self.destination, self.tcp_header()?.get(..4)?.try_into().ok()?))
    }

    /// Whether it is a TCP packet that opens a connection.
    pub(crate) fn opens_tcp(&self) -> bool {
        const SYN: u8 = 0x02;
        self.tcp_header().and_then(|header| header.get(13)).is_some_and(|flags| flags & SYN != 0)
    }

    fn tcp_header(&self) -> Option<&[u8]> {
        const TCP: u8 = 6;
        let start = match self.destination {
            IpAddr::V4(_) => usize::from(self.packet.first()? & 0xf) * 4,
            IpAddr::V6(_) => 40,
        };
        if self.protocol == TCP { self.packet.get(start..) } else { None }
    }
}

/// A packet socket in the origins' namespace.
#[derive(Debug)]
pub struct Sniffer {
    frames: Arc<(Mutex<Vec<Frame>>, Condvar)>,
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    sentinels: AtomicU32,
}

impl Sniffer {
    pub(crate) fn start(namespace: &Namespace) -> Self {
        let socket = namespace.run(|| {
            let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
            Socket::new(Domain::PACKET, Type::RAW, Some(protocol))
        });
        let socket = socket.expect("a packet socket can be made (the tests need root)");
        let (stopped, stop) = rustix::pipe::pipe().expect("a pipe can be made");
        let frames = Arc::<(Mutex<Vec<Frame>>, Condvar)>::default();
        let sink = Arc::clone(&frames);
        let thread = std::thread::spawn(move || watch(socket, &stopped, &sink));
        Self { frames, stop: Some(stop), thread: Some(thread), sentinels: AtomicU32::new(0) }
    }

    /// Sends a sentinel from the client's namespace, unjailed, and waits for it: what was sent
    /// before has been seen after this.
    pub(crate) fn settle(&self, client: &Namespace) {
        let number = self.sentinels.fetch_add(1, Ordering::Relaxed).to_string();
        let sentinel = [SENTINEL, number.as_bytes(), b"."].concat();
        let payload = sentinel.clone();
        let sent = client.run(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.send_to(&payload, (WIRE_V4, 9))
        });
        sent.expect("the wire takes an unjailed datagram");
        let (frames, changed) = &*self.frames;
        let guard = frames.lock().expect("the sniffer lives");
        let absent = |frames: &mut Vec<Frame>| !frames.iter().any(|frame| frame.holds(&sentinel));
        let waited = changed.wait_timeout_while(guard, DEADLINE, absent);
        let (_guard, timeout) = waited.expect("the sniffer lives");
        assert!(!timeout.timed_out(), "the sentinel never arrived: the wire is broken");
    }

    /// Every packet so far, but for the neighbour discovery and group reports that the client's
    /// kernel sends by itself, and the sentinels.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        let frames = self.frames.0.lock().expect("the sniffer lives").clone();
        frames
            .into_iter()
            .filter(|frame| !frame.holds(SENTINEL) && !is_housekeeping(frame))
            .collect()
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join()); // Its panic has been printed.
        }
    }
}

/// Collects frames until the other end of `stopped` is closed.
fn watch(mut socket: Socket, stopped: &OwnedFd, sink: &(Mutex<Vec<Frame>>, Condvar)) {
    let mut buffer = vec![0; 65_536];
    loop {
        let mut fds = [PollFd::new(&socket, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        let polled = poll(&mut fds, None);
        if polled.is_err() || !fds[1].revents().is_empty() {
            return;
        }
        let Ok(length) = socket.read(&mut buffer) else { return };
        if let Some(frame) = parse(&buffer[..length]) {
            sink.0.lock().expect("no test panics with it").push(frame);
            sink.1.notify_all();
        }
    }
}

/// Reads an Ethernet frame of the client's; others are the origins' own.
fn parse(frame: &[u8]) -> Option<Frame> {
    let (ethernet, packet) = frame.split_at_checked(14)?;
    if ethernet[6..12] != CLIENT_MAC {
        return None;
    }
    let (protocol, destination) = match ethernet[12..14] {
        [0x08, 0x00] => {
            let destination: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            (*packet.get(9)?, IpAddr::from(Ipv4Addr::from(destination)))
        }
        [0x86, 0xdd] => {
            let destination: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (*packet.get(6)?, IpAddr::from(Ipv6Addr::from(destination)))
        }
        _ => return None, // ARP and the like: the kernel's own.
    };
    Some(Frame { protocol, destination, packet: packet.to_vec() })
}

/// ICMPv6 130-136 and 143, perhaps after a hop-by-hop header; IGMP.
fn is_housekeeping(frame: &Frame) -> bool {
    let kind = match (frame.destination, frame.protocol) {
        (IpAddr::V4(_), protocol) => return protocol == 2,
        (IpAddr::V6(_), 58) => frame.packet.get(40),
        (IpAddr::V6(_), 0) => frame.packet.get(48),
        (IpAddr::V6(_), _) => return false,
    };
    matches!(kind, Some(130..=136 | 143))
}
