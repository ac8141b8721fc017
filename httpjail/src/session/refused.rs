//! What the kernel side refused a jail, on its way from the maps to the records.
//!
//! The supervisor reads it and hands it on as it is. The proxy makes sense of it: a thread's name is
//! whatever the jailed program wants it to be.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use httpjail_common::{
    addr::Addr,
    event::{Act, RefusalKey, RefusalNote, RefuseReason},
    flow::{COMM_LEN, Caller, Target},
};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    backend::linux::flows,
    policy::{Authority, Host, Process, SyntheticNames},
    record::KernelRefusal,
};

/// The most that is told apart in one message.
const MOST_TOLD: usize = 200;
/// Bytes of one of these.
const TOLD_LEN: usize = 68;

/// What a jail was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    /// How often for these reasons; none is named that never came up.
    pub(super) counts: Vec<(RefuseReason, u64)>,
    /// Whom of these, as far as that was noted.
    pub(super) told: Vec<(RefusalKey, RefusalNote)>,
}

impl Refused {
    /// A number of eight bytes for each reason, in the order of [`RefuseReason::ALL`]; then those that
    /// are told apart.
    pub(super) fn encode(&self) -> Vec<u8> {
        let count = |reason| {
            let found = self.counts.iter().find(|(known, _)| *known == reason);
            found.map_or(0, |(_, count)| *count)
        };
        let counts = RefuseReason::ALL.into_iter().flat_map(|reason| count(reason).to_be_bytes());
        let mut bytes: Vec<u8> = counts.collect();
        for (key, note) in self.told.iter().take(MOST_TOLD) {
            let Some(reason) = key.reason() else { continue };
            for number in [reason as u32, key.uid, note.pid, key.protocol, key.target.port] {
                bytes.extend(number.to_be_bytes());
            }
            bytes.extend(key.comm);
            bytes.extend(key.target.addr.words().iter().flat_map(|word| word.to_ne_bytes()));
            bytes.extend(note.count.to_be_bytes());
            bytes.extend(note.first.to_be_bytes());
        }
        bytes
    }

    /// Reads that back. `None`: it is something else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (counts, told) = bytes.split_at_checked(RefuseReason::ALL.len() * size_of::<u64>())?;
        let (counts, []) = counts.as_chunks::<8>() else { return None };
        let counts = counts.iter().map(|count| u64::from_be_bytes(*count));
        let counts = RefuseReason::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0);
        let (told, []) = told.as_chunks::<TOLD_LEN>() else { return None };
        let told: Option<Vec<_>> = told.iter().map(one).collect();
        Some(Self { counts: counts.collect(), told: told? })
    }

    /// The records of it: of those that are told apart, in the order in which they came up, and of the
    /// others.
    pub(super) fn records(&self, names: &dyn SyntheticNames) -> Vec<KernelRefusal> {
        let (now, up) = (SystemTime::now(), since_start());
        let record = |(key, note): &(RefusalKey, RefusalNote)| {
            let since = up.saturating_sub(Duration::from_nanos(note.first));
            Some(KernelRefusal {
                reason: key.reason()?.as_str(),
                time: now.checked_sub(since).unwrap_or(now),
                process: process(key, note),
                protocol: (key.protocol != 0).then_some(key.protocol),
                target: target(key.target, names),
                count: note.count,
            })
        };
        let mut told: Vec<_> = self.told.iter().filter_map(record).collect();
        told.sort_by_key(|refusal| refusal.time);
        let others = self.counts.iter().filter_map(|(reason, count)| {
            let same = self.told.iter().filter(|(key, _)| key.reason() == Some(*reason));
            let count = count.saturating_sub(same.map(|(_, note)| note.count).sum());
            let reason = reason.as_str();
            (count > 0).then_some(KernelRefusal {
                reason,
                time: now,
                process: None,
                protocol: None,
                target: None,
                count,
            })
        });
        told.into_iter().chain(others).collect()
    }
}

fn one(bytes: &[u8; TOLD_LEN]) -> Option<(RefusalKey, RefusalNote)> {
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    let address = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let long = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
    let [number, uid, pid, protocol, port] = [word(0)?, word(4)?, word(8)?, word(12)?, word(16)?];
    let reason = RefuseReason::ALL.into_iter().find(|reason| *reason as u32 == number)?;
    let comm: [u8; COMM_LEN] = bytes.get(20..36)?.try_into().ok()?;
    let addr = Addr::from_words([address(36)?, address(40)?, address(44)?, address(48)?]);
    let act = Act { caller: Caller { pid, uid, comm }, target: Target { addr, port }, protocol };
    let mut note = RefusalNote::once(pid, long(60)?);
    note.count = long(52)?;
    Some((RefusalKey::new(0, reason, &act), note))
}

/// How long the machine runs: the kernel side's clock.
pub(super) fn since_start() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn process(key: &RefusalKey, note: &RefusalNote) -> Option<Process> {
    let is_known = note.pid != 0;
    is_known.then(|| Process { pid: note.pid, uid: key.uid, comm: flows::name(&key.comm) })
}

fn target(target: Target, names: &dyn SyntheticNames) -> Option<Authority> {
    if target == Target::default() {
        return None;
    }
    let address = IpAddr::from(target.addr);
    let name = names.name_of(address).and_then(|name| Host::parse(&name).ok());
    let port = u16::try_from(target.port).unwrap_or(0);
    Some(Authority::new(name.unwrap_or(Host::Ip(address)), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoName;

    impl SyntheticNames for NoName {
        fn name_of(&self, address: IpAddr) -> Option<String> {
            address.to_string().starts_with("198.18.").then(|| "a.test".to_owned())
        }
    }

    fn told(
        reason: RefuseReason,
        pid: u32,
        address: &str,
        count: u64,
    ) -> (RefusalKey, RefusalNote) {
        let mut comm = [0; COMM_LEN];
        comm[..4].copy_from_slice(b"ping");
        let addr = address.parse::<IpAddr>().unwrap().into();
        let caller = Caller { pid, uid: 1000, comm };
        let act = Act { caller, target: Target { addr, port: 443 }, protocol: 17 };
        let mut note = RefusalNote::once(pid, u64::from(pid));
        note.count = count;
        (RefusalKey::new(0, reason, &act), note)
    }

    #[test]
    fn survives_the_channel() {
        let counts = vec![(RefuseReason::Protocol, 1), (RefuseReason::SharedPort, u64::MAX)];
        let one = told(RefuseReason::Udp, 7, "192.0.2.1", u64::MAX - 1);
        let two = told(RefuseReason::SharedPort, u32::MAX, "2001:db8::1", 1);
        for told in [vec![], vec![one], vec![one, two]] {
            let refused = Refused { counts: counts.clone(), told };
            let bytes = refused.encode();
            assert_eq!(Refused::decode(&bytes), Some(refused));
            assert_eq!(Refused::decode(&bytes[1..]), None);
        }
        let empty = Refused::default();
        assert_eq!(Refused::decode(&empty.encode()), Some(empty));
    }

    #[test]
    fn no_more_are_told_than_a_message_holds() {
        let told = vec![told(RefuseReason::Udp, 7, "192.0.2.1", 1); 1000];
        let bytes = Refused { counts: Vec::new(), told }.encode();
        assert!(bytes.len() < 16 << 10, "{}", bytes.len());
        assert_eq!(Refused::decode(&bytes).unwrap().told.len(), MOST_TOLD);
    }

    #[test]
    fn what_is_not_told_apart_is_counted_with_its_reason() {
        let refused = Refused {
            counts: vec![(RefuseReason::Udp, 10), (RefuseReason::Inbound, 2)],
            told: vec![
                told(RefuseReason::Udp, 8, "198.18.0.1", 3),
                told(RefuseReason::Udp, 7, "192.0.2.1", 4),
                told(RefuseReason::Inbound, 0, "192.0.2.1", 2),
            ],
        };
        let records = refused.records(&NoName);
        let short: Vec<_> = records
            .iter()
            .map(|record| {
                let comm = record.process.as_ref().map_or("-", |process| &process.comm);
                let target = record.target.as_ref().map_or("-".to_owned(), ToString::to_string);
                format!("{} {comm} {target} {}", record.reason, record.count)
            })
            .collect();
        assert_eq!(
            short,
            [
                "inbound - 192.0.2.1:443 2",
                "udp ping 192.0.2.1:443 4",
                "udp ping a.test:443 3",
                "udp - - 3"
            ]
        );
    }
}
