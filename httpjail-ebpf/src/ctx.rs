//! The only raw access to the hooks' contexts.
//!
//! Reads and writes are volatile: the verifier knows the fields of a context by offset and size,
//! and two neighbouring accesses that the compiler merges into a wider one are refused.

use core::ptr::{addr_of, addr_of_mut};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_TCP_LISTEN, bpf_sock, bpf_sock_addr},
    programs::SockAddrContext,
};
use httpjail_common::{addr::Addr, flow::Target};

/// The family of a hook: the one in its name, whatever `user_family` says (a `sendto` with
/// AF_UNSPEC reaches sendmsg4 with zero in it).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// The hooks ending in 4.
    V4,
    /// The hooks ending in 6; addresses may be IPv4-mapped.
    V6,
}

/// The address and port in the call.
#[inline(always)]
pub fn target(ctx: &SockAddrContext, family: Family) -> Target {
    let raw = ctx.sock_addr;
    // SAFETY: the kernel gives a valid context; the fields are read whole, as the verifier asks.
    unsafe {
        let addr = match family {
            Family::V4 => Addr::from_v4_word(addr_of!((*raw).user_ip4).read_volatile()),
            Family::V6 => {
                let ip = addr_of!((*raw).user_ip6).cast::<u32>();
                Addr::from_words([
                    ip.read_volatile(),
                    ip.add(1).read_volatile(),
                    ip.add(2).read_volatile(),
                    ip.add(3).read_volatile(),
                ])
            }
        };
        // The port is in the low 16 bits, in network byte order (bpf.h, struct bpf_sock_addr).
        let port = addr_of!((*raw).user_port).read_volatile();
        Target { addr, port: u32::from(u16::from_be(port as u16)) }
    }
}

/// Rewrites the call's address and port. An IPv4 address in a hook for IPv6 is written in its
/// mapped form.
#[inline(always)]
pub fn set_target(ctx: &SockAddrContext, family: Family, addr: Addr, port: u32) {
    let raw: *mut bpf_sock_addr = ctx.sock_addr;
    let [a, b, c, d] = addr.words();
    // SAFETY: as in `target`; these fields are writable in connect, sendmsg, recvmsg and
    // getpeername hooks.
    unsafe {
        match family {
            Family::V4 => addr_of_mut!((*raw).user_ip4).write_volatile(d),
            Family::V6 => {
                let ip = addr_of_mut!((*raw).user_ip6).cast::<u32>();
                ip.write_volatile(a);
                ip.add(1).write_volatile(b);
                ip.add(2).write_volatile(c);
                ip.add(3).write_volatile(d);
            }
        }
        addr_of_mut!((*raw).user_port).write_volatile(u32::from((port as u16).to_be()));
    }
}

/// The IP protocol of the socket.
#[inline(always)]
pub fn protocol(ctx: &SockAddrContext) -> u32 {
    // SAFETY: as in `target`.
    unsafe { addr_of!((*ctx.sock_addr).protocol).read_volatile() }
}

/// The socket.
#[inline(always)]
pub fn socket(ctx: &SockAddrContext) -> *mut bpf_sock {
    // SAFETY: as in `target`; `sk` is a pointer field of the context.
    unsafe { addr_of!((*ctx.sock_addr).__bindgen_anon_1.sk).read_volatile() }
}

/// Whether a socket is bound to a device.
#[inline(always)]
pub fn is_bound_to_device(sk: *mut bpf_sock) -> bool {
    // SAFETY: `sk` comes from a context and was checked for null.
    unsafe { addr_of!((*sk).bound_dev_if).read_volatile() != 0 }
}

/// Whether a TCP socket waits for connections instead of being one.
#[inline(always)]
pub fn is_listener(sk: *mut bpf_sock) -> bool {
    // SAFETY: as in `is_bound_to_device`.
    unsafe { addr_of!((*sk).state).read_volatile() == BPF_TCP_LISTEN }
}

/// The socket that sends or gets a packet.
#[inline(always)]
pub fn socket_of_packet(skb: *mut __sk_buff) -> *mut bpf_sock {
    // SAFETY: the context of a cgroup_skb program; `sk` is a pointer field of it.
    unsafe { addr_of!((*skb).__bindgen_anon_2.sk).read_volatile() }
}

/// The local end of a socket as far as it is bound: address (all zero: any) and port.
#[inline(always)]
pub fn bound(sk: *mut bpf_sock, is_v4: bool) -> Target {
    // Both addresses are read before one is chosen: the compiler would otherwise choose between
    // two offsets, and the verifier allows no arithmetic on a socket's pointer.
    // SAFETY: as in `is_bound_to_device`.
    let (port, v4, v6) = unsafe {
        let ip = addr_of!((*sk).src_ip6).cast::<u32>();
        let v6 = [
            ip.read_volatile(),
            ip.add(1).read_volatile(),
            ip.add(2).read_volatile(),
            ip.add(3).read_volatile(),
        ];
        let v4 = addr_of!((*sk).src_ip4).read_volatile();
        (addr_of!((*sk).src_port).read_volatile(), v4, v6)
    };
    let addr = if is_v4 { Addr::from_v4_word(v4) } else { Addr::from_words(v6) };
    Target { addr, port }
}
