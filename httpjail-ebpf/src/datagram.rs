//! `sendto()` and `sendmsg()` with an address: DNS to the stub, the jail's own sockets
//! untouched, nothing else.

use aya_ebpf::programs::SockAddrContext;
use httpjail_common::{
    event::RefuseReason,
    flow::{Course, Target},
    gate::{self, Route, Transport},
};

use crate::{
    connect,
    ctx::{self, Family},
    emit::{self, NO_JAIL, Refused},
    jail, local,
};

/// Judges and redirects a datagram.
///
/// A v4-mapped datagram passes here twice, the second time with the rewritten address: it is
/// `AtStub` then and keeps the first note.
#[inline(always)]
pub fn send(ctx: &SockAddrContext, family: Family) -> Result<(), Refused> {
    let jail = jail::of_current().ok_or(NO_JAIL)?;
    let refuse = |reason| Refused { jail: jail.id, reason };
    let target = ctx::target(ctx, family);
    // The interface of such an address is latched already; rewriting would not undo it.
    if target.addr.is_scoped() {
        return Err(refuse(RefuseReason::Scoped));
    }
    // Only UDP comes here: UDP-Lite, raw and ping sockets are never made.
    if Transport::of(ctx::protocol(ctx)) != Some(Transport::Udp) {
        return Err(refuse(RefuseReason::Protocol));
    }
    let sk = emit::present(ctx::socket(ctx)).ok_or_else(|| refuse(RefuseReason::Protocol))?;
    if ctx::is_bound_to_device(sk) {
        return Err(refuse(RefuseReason::BoundDevice));
    }
    let note = local::note(sk).ok_or_else(|| refuse(RefuseReason::Stranger))?;
    if local::is_in_jail(ctx, sk, jail.id, Transport::Udp, target) {
        return Ok(());
    }
    match gate::route(&jail.entry, Transport::Udp, target.addr, target.port).map_err(refuse)? {
        Route::Dns(addr, port) => {
            connect::prove(ctx, jail.id, Transport::Udp, Target { addr, port })?;
            connect::set(note, target, Course::Dns);
            ctx::set_target(ctx, family, addr, port);
            Ok(())
        }
        Route::AtStub => connect::prove(ctx, jail.id, Transport::Udp, target),
        // `route` sends no datagram to the proxy.
        Route::Proxy(..) => Err(refuse(RefuseReason::Udp)),
    }
}
