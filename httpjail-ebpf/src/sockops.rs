//! TCP's own events: a redirected connection is put on record after its source port is final
//! and before its SYN is out, so the proxy can't accept what isn't on record.

use core::ptr::addr_of;

use aya_ebpf::{
    EbpfContext,
    bindings::{
        BPF_ANY, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB,
        BPF_TCP_CLOSE, bpf_sock,
    },
    helpers::generated::bpf_get_netns_cookie,
    programs::SockOpsContext,
};
use httpjail_common::{
    addr::Addr,
    event::{Act, RefuseReason},
    flow::{Course, FlowEntry, FlowKey, SocketNote},
    gate::IPPROTO_TCP,
};

use crate::{
    count,
    emit::{self, Refused},
    local,
    maps::FLOWS,
};

/// Handles one event of a jailed socket.
#[inline(always)]
pub fn event(ctx: &SockOpsContext) {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => put(ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => close(ctx),
        _ => {}
    }
}

/// Records a connection to the proxy. If that fails the proxy finds nothing and resets it.
#[inline(always)]
fn put(ctx: &SockOpsContext) {
    let Some(place) = proxied(ctx) else { return };
    // SAFETY: the storage of the event's socket; a copy is taken.
    let note = unsafe { *place };
    let refuse = |reason| {
        let act = Act { caller: note.caller, target: note.target, protocol: IPPROTO_TCP };
        emit::refuse(Refused { jail: note.maker, reason }, &act)
    };
    // Racing connects may all have found room in the connect hook.
    if !note.is_counted() && !count::connected(note.maker) {
        refuse(RefuseReason::TooMany);
        return;
    }
    let key = key(ctx, &note);
    let entry = FlowEntry { target: note.target, caller: note.caller };
    // Without the flag nobody would tell of the connection's end.
    let is_kept = ctx.set_cb_flags(BPF_SOCK_OPS_STATE_CB_FLAG as i32).is_ok()
        && FLOWS.insert(key, entry, BPF_ANY.into()).is_ok();
    if !is_kept {
        count::closed(note.maker);
        refuse(RefuseReason::NoMemory);
    }
    // SAFETY: as above.
    unsafe { (*place).set_counted(is_kept) };
}

/// Takes back what the proxy won't accept. A connection of which it has a socket already stays on
/// record: the client may send its request and close before the proxy comes to accept it.
#[inline(always)]
fn close(ctx: &SockOpsContext) {
    let Some(note) = proxied(ctx) else { return };
    // SAFETY: the storage of the event's socket.
    let (known, is_proven) = unsafe {
        let is_proven = (*note).is_proven(ctx.local_port(), u32::from_be(ctx.remote_port()));
        let known = *note;
        (*note).unprove();
        (*note).set_counted(false);
        (known, is_proven)
    };
    if known.is_counted() {
        count::closed(known.maker);
    }
    if !is_proven {
        let _ = FLOWS.remove(key(ctx, &known));
    }
}

/// The note of a socket that is on its way to the proxy.
#[inline(always)]
fn proxied(ctx: &SockOpsContext) -> Option<*mut SocketNote> {
    // SAFETY: `sk` is a pointer field of the context, null for some events.
    let sk: *mut bpf_sock = unsafe { addr_of!((*ctx.ops).__bindgen_anon_2.sk).read_volatile() };
    let note = local::note(emit::present(sk)?)?;
    // SAFETY: the storage of the event's socket.
    match unsafe { (*note).course() } {
        Course::Proxy => Some(note),
        Course::Direct | Course::Dns => None,
    }
}

/// The client's end. A target that is an IPv4 address means that the connection is IPv4,
/// whatever the socket's family.
#[inline(always)]
fn key(ctx: &SockOpsContext, note: &SocketNote) -> FlowKey {
    let ops = ctx.ops;
    // Both are read before one is chosen: the compiler would otherwise choose between two
    // offsets, and the verifier allows no arithmetic on a context.
    // SAFETY: fields of the context, read whole, as the verifier asks.
    let (v4, v6) = unsafe {
        let ip = addr_of!((*ops).local_ip6).cast::<u32>();
        let v6 = [
            ip.read_volatile(),
            ip.add(1).read_volatile(),
            ip.add(2).read_volatile(),
            ip.add(3).read_volatile(),
        ];
        (addr_of!((*ops).local_ip4).read_volatile(), v6)
    };
    let is_v4 = note.target.addr.v4_word().is_some();
    let addr = if is_v4 { Addr::from_v4_word(v4) } else { Addr::from_words(v6) };
    // SAFETY: a helper that only reads the context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    // `local_port` is in host byte order (bpf.h, struct bpf_sock_ops).
    FlowKey::new(note.maker, netns, addr, ctx.local_port())
}
