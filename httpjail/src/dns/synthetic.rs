//! Synthetic addresses: for each name that the jail asked for, one IPv4 and one IPv6 address.
//!
//! Both are made of the name's index, so an address leads back to its name without a search.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crate::{policy::SyntheticNames, record::Recorder};

/// The network of the IPv4 addresses: 198.18.0.0/15, set aside for benchmarks (RFC 2544), so
/// nothing that the jail could want to reach lives there.
const V4_NETWORK: u32 = u32::from_be_bytes([198, 18, 0, 0]);

/// Addresses in a /15. The first and the last are never given out: some programs take them for
/// a network's own and its broadcast address.
const V4_SIZE: u32 = 1 << 17;

/// The network of the IPv6 addresses, a unique local /64 (RFC 4193).
const V6_NETWORK: u128 = 0xfd68_7474_706a_6169 << 64;

/// How many names one run can ask for. A name has at most 253 bytes, so the jail can make the
/// table grow to some 20 MB, no further.
const MAX_NAMES: u32 = 1 << 16;

/// How many answers are recorded: the jail can't fill the disk by questions alone.
const MOST_RECORDED: usize = 1 << 16;
const _: () = assert!(MAX_NAMES <= V4_SIZE - 2);

/// The names that a jail asked for, and the addresses that stand for them.
///
/// An address keeps its meaning for as long as this value lives; names differ by more than the
/// case of their letters.
#[derive(Debug)]
pub struct Names {
    table: RwLock<Table>,
    capacity: u32,
    recorder: Recorder,
    /// What was asked for and recorded; empty where nothing is.
    recorded: Mutex<HashSet<(String, &'static str)>>,
}

/// What stands for one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The answer to an A query.
    pub v4: Ipv4Addr,
    /// The answer to an AAAA query.
    pub v6: Ipv6Addr,
}

/// The jail asked for more names than can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("give another name an address: all {0} are taken")]
pub struct Exhausted(u32);

#[derive(Debug, Default)]
struct Table {
    indices: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl Names {
    /// An empty table.
    pub fn new() -> Self {
        Self::with_capacity(MAX_NAMES)
    }

    /// An empty table that tells `recorder` of every name.
    pub fn recorded(recorder: Recorder) -> Self {
        Self { recorder, ..Self::new() }
    }

    pub(super) fn with_capacity(capacity: u32) -> Self {
        let recorder = Recorder::none();
        Self { table: RwLock::default(), capacity, recorder, recorded: Mutex::default() }
    }

    /// Whether questions are recorded.
    pub(super) fn are_recorded(&self) -> bool {
        self.recorder.has_records()
    }

    /// Records that `name` was asked about, by a query of this `kind`, and so answered: once for
    /// each name and answer.
    pub(super) fn note(&self, name: &str, kind: &str, answer: &'static str, found: Option<IpAddr>) {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_ascii_lowercase(), answer);
        if recorded.contains(&key) {
            return;
        }
        if recorded.len() >= MOST_RECORDED {
            return self.recorder.lose(1);
        }
        let both = found.and_then(index_of).map(Addresses::of);
        let addresses = match both {
            Some(Addresses { v4, v6 }) => vec![v4.into(), v6.into()],
            None => found.into_iter().collect(),
        };
        self.recorder.name(&key.0, kind, answer, &addresses);
        recorded.insert(key);
    }

    /// The addresses that stand for `name`, the same ones each time.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] when the name is new and no address is left.
    pub fn assign(&self, name: &str) -> Result<Addresses, Exhausted> {
        let name = name.to_ascii_lowercase();
        if let Some(&index) = self.read().indices.get(name.as_str()) {
            return Ok(Addresses::of(index));
        }
        let mut table = self.write();
        // Another thread may have been here between the two locks.
        if let Some(&index) = table.indices.get(name.as_str()) {
            return Ok(Addresses::of(index));
        }
        let index = u32::try_from(table.names.len()).map_err(|_| Exhausted(self.capacity))?;
        if index >= self.capacity {
            return Err(Exhausted(self.capacity));
        }
        let name: Arc<str> = name.into();
        table.names.push(Arc::clone(&name));
        table.indices.insert(name, index);
        Ok(Addresses::of(index))
    }

    // A panic can't leave the table between two states that matter: what was pushed but not
    // inserted is only never found again. So a poisoned lock is as good as any.
    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

impl SyntheticNames for Names {
    fn name_of(&self, address: IpAddr) -> Option<String> {
        let index = usize::try_from(index_of(address)?).ok()?;
        self.read().names.get(index).map(|name| name.as_ref().to_owned())
    }
}

impl Addresses {
    fn of(index: u32) -> Self {
        let host = index + 1;
        Self {
            v4: Ipv4Addr::from_bits(V4_NETWORK | host),
            v6: Ipv6Addr::from_bits(V6_NETWORK | u128::from(host)),
        }
    }
}

/// The index behind a synthetic address; `None` for any other address.
fn index_of(address: IpAddr) -> Option<u32> {
    let host = match address.to_canonical() {
        IpAddr::V4(ip) => {
            ip.to_bits().checked_sub(V4_NETWORK).filter(|&host| host < V4_SIZE - 1)?
        }
        IpAddr::V6(ip) => ip.to_bits().checked_sub(V6_NETWORK)?.try_into().ok()?,
    };
    host.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_of_either_family_leads_back_to_its_name() {
        let names = Names::new();
        for name in ["a.test", "b.test", "c.test"] {
            let Addresses { v4, v6 } = names.assign(name).unwrap();
            assert_eq!(names.name_of(v4.into()).as_deref(), Some(name));
            assert_eq!(names.name_of(v6.into()).as_deref(), Some(name));
            assert_eq!(names.name_of(v4.to_ipv6_mapped().into()).as_deref(), Some(name));
        }
    }

    #[test]
    fn the_first_name_gets_the_first_host_addresses() {
        let Addresses { v4, v6 } = Names::new().assign("a.test").unwrap();
        assert_eq!(v4.to_string(), "198.18.0.1");
        assert_eq!(v6.to_string(), "fd68:7474:706a:6169::1");
    }

    #[test]
    fn a_name_keeps_its_addresses_however_it_is_cased() {
        let names = Names::new();
        let first = names.assign("Example.TEST").unwrap();
        names.assign("other.test").unwrap();
        assert_eq!(names.assign("example.test"), Ok(first));
        assert_eq!(names.name_of(first.v4.into()).as_deref(), Some("example.test"));
    }

    #[test]
    fn names_beyond_the_capacity_are_refused_and_known_ones_still_answered() {
        let names = Names::with_capacity(2);
        let first = names.assign("a.test").unwrap();
        names.assign("b.test").unwrap();
        assert_eq!(names.assign("c.test"), Err(Exhausted(2)));
        assert_eq!(names.assign("a.test"), Ok(first));
    }

    #[test]
    fn addresses_that_were_not_given_out_have_no_name() {
        let names = Names::new();
        names.assign("a.test").unwrap();
        let strangers = [
            "198.18.0.0",
            "198.18.0.2",
            "198.19.255.255",
            "198.17.255.255",
            "198.20.0.1",
            "0.0.0.1",
            "fd68:7474:706a:6169::",
            "fd68:7474:706a:6169::2",
            "fd68:7474:706a:6169:1::1",
            "fd68:7474:706a:616a::1",
            "::1",
        ];
        for stranger in strangers {
            assert_eq!(names.name_of(stranger.parse().unwrap()), None, "{stranger}");
        }
    }

    proptest! {
        #[test]
        fn every_index_survives_the_way_through_its_addresses(index in 0..MAX_NAMES) {
            let Addresses { v4, v6 } = Addresses::of(index);
            prop_assert_eq!(index_of(v4.into()), Some(index));
            prop_assert_eq!(index_of(v6.into()), Some(index));
        }
    }
}
