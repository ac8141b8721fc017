//! The machine's own addresses.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr,
};

/// All addresses of all devices of the caller's network namespace.
///
/// # Errors
///
/// What `getifaddrs(3)` says.
pub(crate) fn own() -> io::Result<Vec<IpAddr>> {
    let mut list: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: `list` receives a pointer that is freed below.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is a node of the list, which is freed only after the loop.
        let node = unsafe { &*next };
        // SAFETY: `ifa_addr` is null or points to an address of the family in its head.
        found.extend(unsafe { address(node.ifa_addr) });
        next = node.ifa_next;
    }
    // SAFETY: `list` comes from getifaddrs and is freed once.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// # Safety
///
/// `addr` is null or points to a socket address that is as long as its family says.
unsafe fn address(addr: *const libc::sockaddr) -> Option<IpAddr> {
    if addr.is_null() {
        return None;
    }
    // SAFETY: every socket address begins with its family.
    match i32::from(unsafe { (*addr).sa_family }) {
        libc::AF_INET => {
            // SAFETY: the family says that it is a sockaddr_in.
            let raw = unsafe { (*addr.cast::<libc::sockaddr_in>()).sin_addr.s_addr };
            Some(Ipv4Addr::from(u32::from_be(raw)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is a sockaddr_in6.
            let raw = unsafe { (*addr.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr };
            Some(Ipv6Addr::from(raw).into())
        }
        _ => None,
    }
}
