//! The shared maps, typed.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use httpjail_common::{
    event::{RefusalKey, RefusalNote, Refusals},
    flow::FlowKey,
    jail::{Counters, DeviceKey, JailEntry, LocalKey, Published},
    names,
};

use super::sys;
use crate::backend::linux::{cgroup::CgroupDir, flows::Flows};

/// A jail's name in the kernel: the id of its cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JailId(pub(in crate::backend::linux) u64);

impl JailId {
    /// The jail whose cgroup this is.
    pub(crate) fn of(dir: &CgroupDir) -> Self {
        Self(dir.id())
    }
}

/// Where a jail's proxy and stub listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// The proxy, on 127.0.0.1.
    pub(crate) proxy_v4: u16,
    /// The proxy, on `::1`.
    pub(crate) proxy_v6: Option<u16>,
    /// The DNS stub (UDP), on 127.0.0.1.
    pub(crate) dns_v4: u16,
    /// The DNS stub, on `::1`.
    pub(crate) dns_v6: Option<u16>,
}

/// What a jail was refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused {
    /// How often for which reason.
    pub(crate) counts: Refusals,
    /// Whom of these, as far as that was noted.
    pub(crate) told: Vec<(RefusalKey, RefusalNote)>,
}

/// The maps of the loaded programs.
#[derive(Debug)]
pub(crate) struct Maps {
    jails: OwnedFd,
    flows: OwnedFd,
    servers: OwnedFd,
    counters: OwnedFd,
    refusals: OwnedFd,
    locals: OwnedFd,
    devices: OwnedFd,
}

impl Maps {
    /// Opens the maps with these numbers by their names.
    ///
    /// # Errors
    ///
    /// When one can't be opened, or is missing.
    pub(crate) fn open(ids: &[u32]) -> io::Result<Self> {
        let mut named = Vec::new();
        for id in ids {
            let fd = sys::map_by_id(*id)?;
            named.push((sys::map_name(fd.as_fd())?, fd));
        }
        let mut find = |name: &str| {
            let at = named.iter().position(|(found, _)| found == name);
            at.map(|at| named.swap_remove(at).1)
                .ok_or_else(|| io::Error::other(format!("the programs use no map {name}")))
        };
        Ok(Self {
            jails: find(names::JAILS)?,
            flows: find(names::FLOWS)?,
            servers: find(names::SERVERS)?,
            counters: find(names::COUNTERS)?,
            refusals: find(names::REFUSALS)?,
            locals: find(names::LOCALS)?,
            devices: find(names::DEVICES)?,
        })
    }

    /// The same maps, by descriptors of their own.
    ///
    /// # Errors
    ///
    /// When a descriptor can't be copied.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            jails: self.jails.try_clone()?,
            flows: self.flows.try_clone()?,
            servers: self.servers.try_clone()?,
            counters: self.counters.try_clone()?,
            refusals: self.refusals.try_clone()?,
            locals: self.locals.try_clone()?,
            devices: self.devices.try_clone()?,
        })
    }

    /// Marks a socket, and the connections that it accepts from now on, as one that serves the
    /// jail: the jail reaches nothing at its endpoints that isn't marked.
    ///
    /// # Errors
    ///
    /// When the kernel can't store the mark.
    pub(crate) fn mark_server(&self, jail: JailId, socket: BorrowedFd<'_>) -> io::Result<()> {
        sys::update(self.servers.as_fd(), &socket.as_raw_fd(), jail.0)
    }

    /// Gives a jail its network: from now on its processes reach these endpoints, and are
    /// reached at the published ports.
    ///
    /// # Errors
    ///
    /// When a map is full.
    pub(crate) fn arm(
        &self,
        jail: JailId,
        endpoints: Endpoints,
        published: Published,
    ) -> io::Result<()> {
        let entry = JailEntry {
            proxy_v4: endpoints.proxy_v4.into(),
            proxy_v6: endpoints.proxy_v6.unwrap_or(0).into(),
            dns_v4: endpoints.dns_v4.into(),
            dns_v6: endpoints.dns_v6.unwrap_or(0).into(),
            published,
        };
        sys::update(self.counters.as_fd(), &jail.0, Counters::default())?;
        sys::update(self.jails.as_fd(), &jail.0, entry)
    }

    /// Takes a jail's network away and forgets the jail; what it was refused.
    ///
    /// # Errors
    ///
    /// When a map can't be written.
    pub(crate) fn disarm(&self, jail: JailId) -> io::Result<Refused> {
        sys::delete(self.jails.as_fd(), &jail.0)?;
        let refused = self.refused(jail)?;
        // Without its counters nothing more is noted of it.
        sys::delete(self.counters.as_fd(), &jail.0)?;
        forget(&self.flows, names::MAX_FLOWS, |key: &FlowKey| key.jail == jail.0)?;
        forget(&self.refusals, names::MAX_REFUSALS, |key: &RefusalKey| key.jail == jail.0)?;
        Ok(refused)
    }

    /// What a jail was refused so far.
    ///
    /// # Errors
    ///
    /// When a map can't be read.
    pub(crate) fn refused(&self, jail: JailId) -> io::Result<Refused> {
        let counters: Counters = sys::lookup(self.counters.as_fd(), &jail.0)?.unwrap_or_default();
        let map = self.refusals.as_fd();
        let keys = keys(map, names::MAX_REFUSALS, |key: &RefusalKey| key.jail == jail.0)?;
        let mut told = Vec::with_capacity(keys.len());
        for key in keys {
            told.extend(sys::lookup(map, &key)?.map(|note| (key, note)));
        }
        Ok(Refused { counts: counters.refusals, told })
    }

    /// Whether a cgroup is an armed jail.
    ///
    /// # Errors
    ///
    /// When the map can't be read.
    #[cfg(test)]
    pub(crate) fn is_armed(&self, jail: JailId) -> io::Result<bool> {
        Ok(sys::lookup::<u64, JailEntry>(self.jails.as_fd(), &jail.0)?.is_some())
    }

    /// The flows of one jail, for its proxy.
    ///
    /// # Errors
    ///
    /// When the descriptor can't be copied or the network namespace can't be told.
    pub(crate) fn flows(&self, jail: JailId) -> io::Result<Flows> {
        Ok(Flows::new(self.flows.try_clone()?, jail, netns_cookie()?))
    }

    /// Notes the machine's own addresses: connecting to them goes over lo.
    ///
    /// # Errors
    ///
    /// When the namespace can't be told or the map is full.
    pub(crate) fn note_own_addresses(&self, addresses: &[IpAddr]) -> io::Result<()> {
        let netns = netns_cookie()?;
        for address in addresses.iter().filter(|address| !address.is_loopback()) {
            let key = LocalKey { netns, addr: (*address).into() };
            sys::update(self.locals.as_fd(), &key, 1_u8)?;
        }
        Ok(())
    }

    /// Opens devices to jails besides the plain ones.
    ///
    /// # Errors
    ///
    /// When the map is full.
    pub(crate) fn open_devices(&self, devices: &[DeviceKey]) -> io::Result<()> {
        devices.iter().try_for_each(|device| sys::update(self.devices.as_fd(), device, 1_u8))
    }
}

/// Those keys of a map that are meant.
fn keys<K: sys::Plain>(
    map: BorrowedFd<'_>,
    most: usize,
    is_meant: impl Fn(&K) -> bool,
) -> io::Result<Vec<K>> {
    let mut meant = Vec::new();
    let mut last: Option<K> = None;
    // Other jails change the map meanwhile; the bound ends a walk that starts over.
    for _ in 0..most {
        let Some(key) = sys::next_key(map, last.as_ref())? else { break };
        if is_meant(&key) {
            meant.push(key);
        }
        last = Some(key);
    }
    Ok(meant)
}

/// Removes the entries of those keys.
fn forget<K: sys::Plain>(
    map: &OwnedFd,
    most: usize,
    is_meant: impl Fn(&K) -> bool,
) -> io::Result<()> {
    let map = map.as_fd();
    keys(map, most, is_meant)?.iter().try_for_each(|key| sys::delete(map, key))
}

/// The cookie of the caller's network namespace (Linux 5.14).
fn netns_cookie() -> io::Result<u64> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    // SAFETY: SO_NETNS_COOKIE writes eight bytes to `cookie`, whose size is passed.
    let failed = unsafe {
        libc::getsockopt(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &mut length,
        )
    };
    if failed == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;
