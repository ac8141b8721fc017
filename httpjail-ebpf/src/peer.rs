//! `getpeername()` and `recvfrom()`: programs see the address that they asked for. Cosmetics:
//! nothing is decided here.

use aya_ebpf::programs::SockAddrContext;
use httpjail_common::flow::{Course, Target};

use crate::{
    ctx::{self, Family},
    emit, local,
};

/// Shows where a redirected socket was meant to go.
#[inline(always)]
pub fn show_peer(ctx: &SockAddrContext, family: Family) {
    let Some((course, target)) = noted(ctx) else { return };
    match course {
        Course::Proxy | Course::Dns => show(ctx, family, target),
        Course::Direct => {}
    }
}

/// Shows the stub's answers as coming from the resolver that was asked. What comes from
/// elsewhere on lo (a socket of the same jail) keeps its address.
#[inline(always)]
pub fn show_sender(ctx: &SockAddrContext, family: Family) {
    let Some((Course::Dns, target)) = noted(ctx) else { return };
    let Some(jail) = crate::jail::of_current() else { return };
    let sender = ctx::target(ctx, family);
    let udp = httpjail_common::gate::Transport::Udp;
    if httpjail_common::gate::is_endpoint(&jail.entry, udp, sender.addr, sender.port) {
        show(ctx, family, target);
    }
}

/// Writes `target` where the hook's family can hold it.
#[inline(always)]
fn show(ctx: &SockAddrContext, family: Family, target: Target) {
    if family == Family::V6 || target.addr.v4_word().is_some() {
        ctx::set_target(ctx, family, target.addr, target.port);
    }
}

/// What the socket's note says.
#[inline(always)]
fn noted(ctx: &SockAddrContext) -> Option<(Course, Target)> {
    let sk = emit::present(ctx::socket(ctx))?;
    let note = local::note(sk)?;
    // SAFETY: the storage of the call's socket.
    unsafe { Some(((*note).course(), (*note).target)) }
}
