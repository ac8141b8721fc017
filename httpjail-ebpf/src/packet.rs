//! The boundary (P1): whatever the other hooks saw or missed, a packet of a jail leaves or
//! arrives only over lo, and only between the jail and its proxy, its stub or itself; or between
//! a listener at a published port and whoever connected to it.

use core::ptr::addr_of;

use aya_ebpf::{EbpfContext, bindings::__sk_buff, programs::SkBuffContext};
use httpjail_common::{
    addr::Addr,
    event::{Act, RefuseReason},
    flow::{Caller, SocketNote, Target},
    gate::{self, Transport},
};

use crate::{
    ctx,
    emit::{self, NO_JAIL, Refused},
    jail::{self, Jail},
    local,
};

/// The index of lo in every network namespace (LOOPBACK_IFINDEX, include/net/flow.h).
const LOOPBACK: u32 = 1;
/// `skb->protocol` values (if_ether.h), as they lie in the context: network byte order.
const ETH_P_IP: u32 = 0x0800_u16.to_be() as u32;
const ETH_P_IPV6: u32 = 0x86dd_u16.to_be() as u32;
/// The number of the hop-by-hop header (IANA).
const HOP_BY_HOP: u8 = 0;
/// The TCP flags SYN and ACK.
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// The two ends of a packet.
struct Ends {
    transport: Transport,
    from: Target,
    to: Target,
    /// A TCP packet that opens a connection, or takes part in it.
    syn: bool,
    /// A TCP packet that opens a connection.
    opens: bool,
    /// It brings data to whichever of the sockets at its port it is given to: a datagram, or a SYN
    /// with data. Other data goes to the one that a connection was made with.
    brings: bool,
}

/// Judges a packet that a jailed socket sends.
#[inline(always)]
pub fn egress(ctx: &SkBuffContext) -> Result<(), Refused> {
    let (jail, ends) = inspect(ctx)?;
    // Nothing is opened from a published port: a client outside does that.
    if !ends.opens && is_published(ctx, &jail, &ends, ends.from) {
        return Ok(());
    }
    between(ctx, &jail, &ends, ends.from, ends.to, RefuseReason::Stranger)
}

/// Judges a packet that a jailed socket receives.
#[inline(always)]
pub fn ingress(ctx: &SkBuffContext) -> Result<(), Refused> {
    let (jail, ends) = inspect(ctx)?;
    if is_published(ctx, &jail, &ends, ends.to) {
        return Ok(());
    }
    // The sender is the socket that an answer to this packet would reach.
    between(ctx, &jail, &ends, ends.to, ends.from, RefuseReason::Inbound)
}

/// What there is to tell of a packet that was refused to a jailed sender: where it would have gone,
/// and whose socket it is. The running task may be any, as packets are sent again by timers.
#[inline(always)]
pub fn sent(ctx: &SkBuffContext) -> Act {
    act(ctx, |ends| ends.to)
}

/// The same to a jailed receiver: where it came from.
#[inline(always)]
pub fn received(ctx: &SkBuffContext) -> Act {
    act(ctx, |ends| ends.from)
}

#[inline(always)]
fn act(ctx: &SkBuffContext, far: impl Fn(&Ends) -> Target) -> Act {
    let note = local::note(ctx::socket_of_packet(ctx.skb.skb));
    // SAFETY: the storage of the packet's socket; a copy is taken.
    let caller = note.map_or(Caller::default(), |note| unsafe { (*note).caller });
    match read(ctx) {
        Some(ends) => Act { caller, target: far(&ends), protocol: ends.transport.number() },
        None => Act { caller, target: Target::default(), protocol: 0 },
    }
}

/// Whether the packet is of a listener at a published port, or of a connection that such a one
/// accepted, whoever is at the other end.
///
/// A jailed program can bind a published port to connect from it, too; then the socket has a note
/// and doesn't listen. Accepted sockets have none, as socket storage isn't inherited, and the
/// connect hook refuses them for good.
#[inline(always)]
fn is_published(ctx: &SkBuffContext, jail: &Jail, ends: &Ends, near: Target) -> bool {
    if ends.transport != Transport::Tcp
        || !jail.entry.published.has(near.port)
        || ends.to.addr.is_scoped()
    {
        return false;
    }
    let Some(sk) = emit::present(ctx::socket_of_packet(ctx.skb.skb)) else { return false };
    ctx::is_listener(sk) || local::note(sk).is_none()
}

/// Passes what goes between the jail's socket at `near` and, at `far`, the jail's proxy or stub or
/// another socket of the jail. A port proves nothing: whoever outlives the proxy can bind its.
///
/// Where no socket is found, a TCP packet that doesn't open a connection passes: its other end
/// is in TIME-WAIT or closed, and only the kernel answers. The connection itself was judged by
/// its SYN. Dropping it would leave sockets in LAST-ACK for minutes.
#[inline(always)]
fn between(
    ctx: &SkBuffContext,
    jail: &Jail,
    ends: &Ends,
    near: Target,
    far: Target,
    reason: RefuseReason,
) -> Result<(), Refused> {
    let refused = Refused { jail: jail.id, reason };
    // A broadcast reaches more sockets than the one that is looked up.
    if ends.to.addr.is_scoped() {
        return Err(refused);
    }
    let note = connection(ctx, ends);
    // SAFETY: the storage of the packet's socket.
    if note.is_some_and(|note| unsafe { (*note).is_proven(near.port, far.port) }) {
        return Ok(());
    }
    let mut peer = local::lookup(ctx.as_ptr(), ends.transport, near, far);
    if peer.is_null() && ends.opens {
        // An earlier connection between these ends may be in TIME-WAIT; its listener gets this.
        peer = local::lookup(ctx.as_ptr(), ends.transport, Target { port: 0, ..near }, far);
    }
    if peer.is_null() {
        return match ends.transport {
            Transport::Tcp if !ends.opens => Ok(()),
            Transport::Tcp | Transport::Udp => Err(refused),
        };
    }
    let serves = local::serves(peer, jail.id);
    if serves
        && !ctx::is_listener(peer)
        && let Some(note) = note
    {
        // SAFETY: as above; whoever races writes the same.
        unsafe { (*note).prove(near.port, far.port) };
    }
    let is_ours = serves || jail::holds(jail.id, peer);
    let is_meant = serves || !ends.brings || !local::shares(peer);
    local::release(peer);
    match (is_ours, is_meant) {
        (true, true) => Ok(()),
        (true, false) => Err(Refused { jail: jail.id, reason: RefuseReason::SharedPort }),
        (false, _) => Err(refused),
    }
}

/// The note of the packet's socket, where what was proven of one packet holds for the next: on a
/// TCP connection, whose far end can't change while it lasts. A SYN may belong to another one.
#[inline(always)]
fn connection(ctx: &SkBuffContext, ends: &Ends) -> Option<*mut SocketNote> {
    if ends.transport == Transport::Tcp && !ends.syn {
        local::note(ctx::socket_of_packet(ctx.skb.skb))
    } else {
        None
    }
}

/// The packet's jail and ends, if it is a plain TCP or UDP packet on lo.
#[inline(always)]
fn inspect(ctx: &SkBuffContext) -> Result<(Jail, Ends), Refused> {
    let skb: *mut __sk_buff = ctx.skb.skb;
    let jail = jail::of_packet(skb).ok_or(NO_JAIL)?;
    // SAFETY: a field of the context, read whole.
    let device = unsafe { addr_of!((*skb).ifindex).read_volatile() };
    if device != LOOPBACK {
        return Err(Refused { jail: jail.id, reason: RefuseReason::NotLoopback });
    }
    match read(ctx) {
        Some(ends) => Ok((jail, ends)),
        None => Err(Refused { jail: jail.id, reason: RefuseReason::Header }),
    }
}

/// The ends of a packet whose headers are plain.
#[inline(always)]
fn read(ctx: &SkBuffContext) -> Option<Ends> {
    // SAFETY: a field of the context, read whole.
    match unsafe { addr_of!((*ctx.skb.skb).protocol).read_volatile() } {
        ETH_P_IP => v4(ctx),
        ETH_P_IPV6 => v6(ctx),
        _ => None,
    }
}

/// IPv4 (RFC 791): no options (source routes), no fragments.
#[inline(always)]
fn v4(ctx: &SkBuffContext) -> Option<Ends> {
    let version_and_length: u8 = ctx.load(0).ok()?;
    let fragment: u16 = ctx.load(6).ok()?;
    // More-fragments and the offset; the don't-fragment bit may be set.
    if version_and_length != 0x45 || u16::from_be(fragment) & 0x3fff != 0 {
        return None;
    }
    let protocol: u8 = ctx.load(9).ok()?;
    let length: u16 = ctx.load(2).ok()?;
    let from: u32 = ctx.load(12).ok()?;
    let to: u32 = ctx.load(16).ok()?;
    let payload = u32::from(u16::from_be(length)).wrapping_sub(20);
    let transport = Transport::of(protocol.into())?;
    ends(ctx, transport, Addr::from_v4_word(from), Addr::from_v4_word(to), 20, payload)
}

/// IPv6 (RFC 8200): no extension headers (routing headers above all), but the one that Linux itself
/// adds to say the length of a packet above 64 KiB.
#[inline(always)]
fn v6(ctx: &SkBuffContext) -> Option<Ends> {
    let next: u8 = ctx.load(6).ok()?;
    let length: u16 = ctx.load(4).ok()?;
    let from: [u32; 4] = ctx.load(8).ok()?;
    let to: [u32; 4] = ctx.load(24).ok()?;
    let (from, to) = (Addr::from_words(from), Addr::from_words(to));
    if next == HOP_BY_HOP {
        let transport = gate::behind_length(ctx.load(40).ok()?)?;
        // More than any packet with nothing behind its headers has.
        return ends(ctx, transport, from, to, 48, u32::MAX);
    }
    let payload = u16::from_be(length).into();
    ends(ctx, Transport::of(next.into())?, from, to, 40, payload)
}

/// `payload` is the length of what follows the IP header.
#[inline(always)]
fn ends(
    ctx: &SkBuffContext,
    transport: Transport,
    from: Addr,
    to: Addr,
    header: usize,
    payload: u32,
) -> Option<Ends> {
    let source: u16 = ctx.load(header).ok()?;
    let destination: u16 = ctx.load(header + 2).ok()?;
    let (flags, brings) = match transport {
        Transport::Tcp => {
            let words: u8 = ctx.load(header + 12).ok()?;
            let flags: u8 = ctx.load(header + 13).ok()?;
            // The upper half counts the TCP header's words of four bytes.
            (flags, flags & SYN != 0 && payload != u32::from(words >> 4) * 4)
        }
        Transport::Udp => (0, true),
    };
    Some(Ends {
        transport,
        from: Target { addr: from, port: u16::from_be(source).into() },
        to: Target { addr: to, port: u16::from_be(destination).into() },
        syn: flags & SYN != 0,
        opens: flags & (SYN | ACK) == SYN,
        brings,
    })
}
