//! `connect()`: TCP to the proxy, DNS to the stub, the jail's own sockets untouched.

use aya_ebpf::{
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid},
    programs::SockAddrContext,
};
use httpjail_common::{
    event::RefuseReason,
    flow::{Caller, Course, SocketNote, Target},
    gate::{self, Route, Transport},
};

use crate::{
    count,
    ctx::{self, Family},
    emit::{self, NO_JAIL, Refused},
    jail, local,
};

/// Judges and redirects a `connect()` of any inet socket.
#[inline(always)]
pub fn connect(ctx: &SockAddrContext, family: Family) -> Result<(), Refused> {
    let jail = jail::of_current().ok_or(NO_JAIL)?;
    let refuse = |reason| Refused { jail: jail.id, reason };
    let transport =
        Transport::of(ctx::protocol(ctx)).ok_or_else(|| refuse(RefuseReason::Protocol))?;
    let sk = emit::present(ctx::socket(ctx)).ok_or_else(|| refuse(RefuseReason::Protocol))?;
    if ctx::is_bound_to_device(sk) {
        return Err(refuse(RefuseReason::BoundDevice));
    }
    // A socket without a note was made outside: it may not be used in here.
    let note = local::note(sk).ok_or_else(|| refuse(RefuseReason::Stranger))?;
    let target = ctx::target(ctx, family);
    if transport == Transport::Udp && target.addr.is_scoped() {
        return Err(refuse(RefuseReason::Scoped));
    }
    if local::is_in_jail(ctx, sk, jail.id, transport, target) {
        set(note, target, Course::Direct);
        return Ok(());
    }
    match gate::route(&jail.entry, transport, target.addr, target.port).map_err(refuse)? {
        Route::Proxy(addr, port) => {
            prove(ctx, jail.id, transport, Target { addr, port })?;
            if count::is_full(jail.id) {
                return Err(refuse(RefuseReason::TooMany));
            }
            set(note, target, Course::Proxy);
            ctx::set_target(ctx, family, addr, port);
        }
        Route::Dns(addr, port) => {
            prove(ctx, jail.id, transport, Target { addr, port })?;
            set(note, target, Course::Dns);
            ctx::set_target(ctx, family, addr, port);
        }
        Route::AtStub => prove(ctx, jail.id, transport, target)?,
    }
    Ok(())
}

/// Refuses at once what the packet hooks would drop: the jail's proxy or stub is dead.
#[inline(always)]
pub fn prove(
    ctx: &SockAddrContext,
    jail: u64,
    transport: Transport,
    at: Target,
) -> Result<(), Refused> {
    if local::is_served(ctx, jail, transport, at) {
        Ok(())
    } else {
        Err(Refused { jail, reason: RefuseReason::NoServer })
    }
}

/// Notes where the socket goes and who sent it there.
#[inline(always)]
pub fn set(note: *mut SocketNote, target: Target, course: Course) {
    let caller = caller();
    // SAFETY: `note` points to the storage of the call's socket, which only calls on this very
    // socket write; a racing call can only mix up its own socket's notes.
    unsafe {
        (*note).target = target;
        (*note).caller = caller;
        (*note).set_course(course);
        (*note).unprove();
    }
}

/// The running task.
#[inline(always)]
pub fn caller() -> Caller {
    Caller {
        pid: (bpf_get_current_pid_tgid() >> 32) as u32,
        uid: bpf_get_current_uid_gid() as u32,
        comm: bpf_get_current_comm().unwrap_or_default(),
    }
}
