//! The sockets at the other end: those of the same jail, and those of its proxy and stub.

use core::ptr;

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_F_CURRENT_NETNS, bpf_sock, bpf_sock_tuple},
    helpers::generated::{
        bpf_get_netns_cookie, bpf_sk_lookup_tcp, bpf_sk_lookup_udp, bpf_sk_release,
        bpf_sk_storage_get,
    },
    programs::SockAddrContext,
};
use httpjail_common::{
    addr::{Addr, LOCALHOST_V4, LOCALHOST_V6},
    flow::{SocketNote, Target},
    gate::Transport,
    jail::LocalKey,
};

use crate::{
    ctx, emit,
    maps::{LOCALS, NOTES, SERVERS},
};

/// Looks a socket up that would receive a packet from `from` to `to`.
///
/// The tuple's layout is that of `struct bpf_sock_tuple` (bpf.h): addresses, then ports, in
/// network byte order; its size tells the family.
#[inline(always)]
pub fn lookup(
    context: *mut core::ffi::c_void,
    transport: Transport,
    from: Target,
    to: Target,
) -> *mut bpf_sock {
    let ports = (u32::from((from.port as u16).to_be()), u32::from((to.port as u16).to_be()));
    // Two network-order ports next to each other in memory.
    let ports = ports.0 | ports.1 << 16;
    if let (Some(from), Some(to)) = (from.addr.v4_word(), to.addr.v4_word()) {
        let mut tuple = [from, to, ports];
        return find(context, transport, tuple.as_mut_ptr().cast(), size_of_val(&tuple));
    }
    let ([a, b, c, d], [e, f, g, h]) = (from.addr.words(), to.addr.words());
    let mut tuple = [a, b, c, d, e, f, g, h, ports];
    find(context, transport, tuple.as_mut_ptr().cast(), size_of_val(&tuple))
}

#[inline(always)]
fn find(
    context: *mut core::ffi::c_void,
    transport: Transport,
    tuple: *mut bpf_sock_tuple,
    size: usize,
) -> *mut bpf_sock {
    let netns = BPF_F_CURRENT_NETNS as u64;
    // SAFETY: `context` is the program's context and `tuple` points to `size` bytes on the stack.
    unsafe {
        match transport {
            Transport::Tcp => bpf_sk_lookup_tcp(context, tuple, size as u32, netns, 0),
            Transport::Udp => bpf_sk_lookup_udp(context, tuple, size as u32, netns, 0),
        }
    }
}

/// Gives a looked-up socket back.
#[inline(always)]
pub fn release(sk: *mut bpf_sock) {
    // SAFETY: `sk` comes from `lookup`, isn't null and is released once.
    unsafe { bpf_sk_release(sk.cast()) };
}

/// Whether a call to `target` reaches a socket that was made in the jail `jail`. Only the
/// machine's own addresses can: a listener on any address must not swallow what is meant for
/// the world.
#[inline(always)]
pub fn is_in_jail(
    ctx: &SockAddrContext,
    sk: *mut bpf_sock,
    jail: u64,
    transport: Transport,
    target: Target,
) -> bool {
    let is_v4 = target.addr.v4_word().is_some();
    let mut to = target;
    if to.addr.is_unspecified() {
        to.addr = if is_v4 { LOCALHOST_V4 } else { LOCALHOST_V6 };
    } else if !to.addr.is_loopback() && !is_own_address(ctx, to.addr) {
        return false;
    }
    // A datagram socket that is connected back to the caller is found by the caller's end only.
    let mut from = ctx::bound(sk, is_v4);
    if from.addr.is_unspecified() {
        from.addr = to.addr;
    }
    let peer = lookup(ctx.as_ptr(), transport, from, to);
    if peer.is_null() {
        return false;
    }
    let maker = note(peer).map_or(0, |note| {
        // SAFETY: the storage of a referenced socket; `maker` is written before the socket is
        // visible and never again.
        unsafe { (*note).maker }
    });
    let is_meant = !matches!(transport, Transport::Udp) || !shares(peer);
    release(peer);
    maker == jail && is_meant
}

/// Whether what is sent to the socket may come to another one.
#[inline(always)]
pub fn shares(sk: *mut bpf_sock) -> bool {
    // SAFETY: the storage of a referenced socket.
    note(sk).is_some_and(|note| unsafe { (*note).shares() })
}

#[inline(always)]
fn is_own_address(ctx: &SockAddrContext, addr: Addr) -> bool {
    // SAFETY: a helper that only reads the context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    LOCALS.get_ptr(LocalKey { netns, addr }).is_some()
}

/// The note that a socket carries, if it was made in a jail.
#[inline(always)]
pub fn note(sk: *mut bpf_sock) -> Option<*mut SocketNote> {
    let sk = emit::present(sk)?;
    // SAFETY: a socket of the context or a referenced one; no initial value is given.
    let note = unsafe {
        bpf_sk_storage_get(ptr::from_ref(&NOTES).cast_mut().cast(), sk.cast(), ptr::null_mut(), 0)
    };
    let note = note.cast::<SocketNote>();
    if note.is_null() { None } else { Some(note) }
}

/// Whether what listens at `at` is the jail's own proxy or stub, and not somebody who took the
/// port when they were dead.
#[inline(always)]
pub fn is_served(ctx: &SockAddrContext, jail: u64, transport: Transport, at: Target) -> bool {
    // Port 0 has no connections: only the listener is found, and not what is left of an earlier
    // connection from the caller's port.
    let peer = lookup(ctx.as_ptr(), transport, Target { addr: at.addr, port: 0 }, at);
    if peer.is_null() {
        return false;
    }
    let is_served = serves(peer, jail);
    release(peer);
    is_served
}

/// Whether a socket is of the jail's proxy or stub: one that the supervisor marked, or that was
/// accepted by such a one.
#[inline(always)]
pub fn serves(sk: *mut bpf_sock, jail: u64) -> bool {
    // SAFETY: a referenced socket; no initial value is given.
    let served = unsafe {
        let servers = ptr::from_ref(&SERVERS).cast_mut().cast();
        bpf_sk_storage_get(servers, sk.cast(), ptr::null_mut(), 0).cast::<u64>()
    };
    // SAFETY: the storage of a referenced socket, written once before the jail was armed.
    !served.is_null() && unsafe { *served } == jail
}
