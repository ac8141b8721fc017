//! `socket()`: only TCP and UDP, and every socket is marked with the jail that made it.

use core::ptr::{self, addr_of};

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::generated::{bpf_set_retval, bpf_sk_storage_get},
    programs::SockContext,
};
use httpjail_common::{
    event::RefuseReason,
    flow::SocketNote,
    gate::{self, SocketVerdict},
};

use crate::{
    connect,
    emit::{NO_JAIL, Refused},
    jail,
    maps::NOTES,
};

/// Linux's EPROTONOSUPPORT.
const EPROTONOSUPPORT: i32 = 93;

/// Judges a new inet socket.
#[inline(always)]
pub fn create(ctx: &SockContext) -> Result<(), Refused> {
    let jail = jail::of_current().ok_or(NO_JAIL)?;
    let refused = Refused { jail: jail.id, reason: RefuseReason::Protocol };
    let sock: *mut bpf_sock = ctx.sock;
    // SAFETY: the kernel gives a valid context; the field is read whole.
    let kind = unsafe { addr_of!((*sock).type_).read_volatile() };
    match gate::socket(kind, protocol(ctx)) {
        SocketVerdict::Allow => {}
        SocketVerdict::Unsupported => {
            // SAFETY: a helper without memory arguments; the program returns a refusal next.
            unsafe { bpf_set_retval(-EPROTONOSUPPORT) };
            return Err(refused);
        }
        SocketVerdict::Refuse => return Err(refused),
    }
    let mut note = SocketNote::made_in(jail.id, connect::caller());
    // SAFETY: `sock` is the context's socket; the note lies on the stack and is copied.
    let kept = unsafe {
        bpf_sk_storage_get(
            ptr::from_ref(&NOTES).cast_mut().cast(),
            sock.cast(),
            ptr::from_mut(&mut note).cast(),
            BPF_SK_STORAGE_GET_F_CREATE.into(),
        )
    };
    if kept.is_null() {
        return Err(Refused { jail: jail.id, reason: RefuseReason::NoMemory });
    }
    Ok(())
}

/// The IP protocol of the socket.
#[inline(always)]
pub fn protocol(ctx: &SockContext) -> u32 {
    // SAFETY: the kernel gives a valid context; the field is read whole.
    unsafe { addr_of!((*ctx.sock).protocol).read_volatile() }
}
