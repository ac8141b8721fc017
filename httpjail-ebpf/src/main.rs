//! The programs on the jails' parent cgroup. Entry points only: each calls one function and
//! turns its result into a verdict; what isn't a proven pass is refused and counted.
//!
//! Minimum kernel: 5.15 for what is used here; `bpf_set_retval` (the error number of a refused
//! `socket()`) needs 5.18.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "the target adds atomically but has no compare-and-swap, so `core` has no fetch_add"
)]

mod connect;
mod count;
mod ctx;
mod datagram;
mod device;
mod emit;
mod jail;
mod local;
mod maps;
mod option;
mod packet;
mod peer;
mod socket;
mod sockops;

use aya_ebpf::{
    macros::{cgroup_device, cgroup_skb, cgroup_sock, cgroup_sock_addr, cgroup_sockopt, sock_ops},
    programs::{
        DeviceContext, SkBuffContext, SockAddrContext, SockContext, SockOpsContext, SockoptContext,
    },
};

use ctx::Family;
use httpjail_common::event::Act;

/// What a cgroup program returns to let a call or packet pass.
const PASS: i32 = 1;
/// What it returns to refuse: the call fails with EPERM, the packet is dropped.
const REFUSE: i32 = 0;

#[cgroup_sock(sock_create)]
pub fn hj_sock_create(ctx: SockContext) -> i32 {
    match socket::create(&ctx) {
        Ok(()) => PASS,
        Err(refused) => emit::refuse_socket(refused, socket::protocol(&ctx)),
    }
}

#[cgroup_sock_addr(connect4)]
pub fn hj_connect4(ctx: SockAddrContext) -> i32 {
    match connect::connect(&ctx, Family::V4) {
        Ok(()) => PASS,
        Err(refused) => emit::refuse_call(refused, &ctx, Family::V4),
    }
}

#[cgroup_sock_addr(connect6)]
pub fn hj_connect6(ctx: SockAddrContext) -> i32 {
    match connect::connect(&ctx, Family::V6) {
        Ok(()) => PASS,
        Err(refused) => emit::refuse_call(refused, &ctx, Family::V6),
    }
}

#[cgroup_sock_addr(sendmsg4)]
pub fn hj_sendmsg4(ctx: SockAddrContext) -> i32 {
    match datagram::send(&ctx, Family::V4) {
        Ok(()) => PASS,
        Err(refused) => emit::refuse_call(refused, &ctx, Family::V4),
    }
}

#[cgroup_sock_addr(sendmsg6)]
pub fn hj_sendmsg6(ctx: SockAddrContext) -> i32 {
    match datagram::send(&ctx, Family::V6) {
        Ok(()) => PASS,
        Err(refused) => emit::refuse_call(refused, &ctx, Family::V6),
    }
}

#[cgroup_sock_addr(recvmsg4)]
pub fn hj_recvmsg4(ctx: SockAddrContext) -> i32 {
    peer::show_sender(&ctx, Family::V4);
    PASS
}

#[cgroup_sock_addr(recvmsg6)]
pub fn hj_recvmsg6(ctx: SockAddrContext) -> i32 {
    peer::show_sender(&ctx, Family::V6);
    PASS
}

#[cgroup_sock_addr(getpeername4)]
pub fn hj_getpeer4(ctx: SockAddrContext) -> i32 {
    peer::show_peer(&ctx, Family::V4);
    PASS
}

#[cgroup_sock_addr(getpeername6)]
pub fn hj_getpeer6(ctx: SockAddrContext) -> i32 {
    peer::show_peer(&ctx, Family::V6);
    PASS
}

// Not called `sockops`: aya's section name and the function's symbol would clash.
#[sock_ops]
pub fn hj_sock_ops(ctx: SockOpsContext) -> u32 {
    sockops::event(&ctx);
    // Only replies to some operations matter, and none of those is used.
    1
}

#[cgroup_skb(egress)]
pub fn hj_egress(ctx: SkBuffContext) -> i32 {
    match packet::egress(&ctx) {
        Ok(()) => PASS,
        Err(refused) => emit::refuse(refused, &packet::sent(&ctx)),
    }
}

#[cgroup_skb(ingress)]
pub fn hj_ingress(ctx: SkBuffContext) -> i32 {
    match packet::ingress(&ctx) {
        Ok(()) => PASS,
        Err(refused) => emit::refuse(refused, &packet::received(&ctx)),
    }
}

#[cgroup_sockopt(setsockopt)]
pub fn hj_setsockopt(ctx: SockoptContext) -> i32 {
    option::look(&ctx);
    PASS
}

#[cgroup_device]
pub fn hj_device(ctx: DeviceContext) -> i32 {
    match device::check(&ctx) {
        Ok(()) => PASS,
        Err(refused) => emit::refuse(refused, &Act::default()),
    }
}

/// Never called: the programs can't panic. Without it the crate doesn't link.
#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// The kernel lets only programs of a GPL-compatible licence use some of the helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
