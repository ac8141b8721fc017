//! `setsockopt()`: notes which sockets may share their ports. It refuses nothing.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::programs::SockoptContext;

use crate::local;

/// Numbers of include/uapi/asm-generic/socket.h.
const SOL_SOCKET: i32 = 1;
const SO_REUSEPORT: i32 = 15;

/// Looks at an option before it is set.
#[inline(always)]
pub fn look(ctx: &SockoptContext) {
    let raw = ctx.sockopt;
    // SAFETY: the kernel gives a valid context; the fields are read whole, as the verifier asks. Zero
    // for a length: the kernel takes the caller's value as it is, which it does not if it is longer
    // than a page and the length stays.
    let (level, name) = unsafe {
        addr_of_mut!((*raw).optlen).write_volatile(0);
        (addr_of!((*raw).level).read_volatile(), addr_of!((*raw).optname).read_volatile())
    };
    if level != SOL_SOCKET || name != SO_REUSEPORT {
        return;
    }
    // SAFETY: as above; `sk` is a pointer field of the context.
    let sk = unsafe { addr_of!((*raw).__bindgen_anon_1.sk).read_volatile() };
    if let Some(note) = local::note(sk) {
        // SAFETY: the storage of the call's socket; nobody takes the mark away again.
        unsafe { (*note).share() };
    }
}
