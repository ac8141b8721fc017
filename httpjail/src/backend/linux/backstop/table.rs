//! Puts the backstop in place, and takes it away.

use std::io;

use nftnl::{Chain, ChainType, Hook, Policy, ProtoFamily, Rule, Table};
use tracing::warn;

use super::{
    netlink::{Changes, Netlink},
    rule::ParentCgroup,
    state::{CHAIN, Found, PRIORITY, TABLE},
};

/// The nftables rules of this network namespace that hold the jails' parent cgroups back.
///
/// Calls that change something must not run at the same time in two processes: take the lock
/// that guards the parent cgroups.
#[derive(Clone, Copy, Debug)]
pub struct Backstop;

/// A backstop that isn't in place, or can't be taken away.
#[derive(Debug, thiserror::Error)]
pub enum BackstopError {
    /// No socket to the kernel's packet filter.
    #[error("open a socket to nftables")]
    Open(#[source] io::Error),
    /// The rules can't be read.
    #[error("read the nftables backstop")]
    Read(#[source] io::Error),
    /// The kernel doesn't take the change.
    #[error("change the nftables backstop")]
    Change(#[source] io::Error),
    /// The kernel took the change, and the rule isn't there.
    #[error("find the nftables backstop after it was put in place")]
    NotInPlace,
}

impl Backstop {
    /// Makes sure that nothing leaves the cgroup `parent`, `level` steps below the root of the
    /// hierarchy, nor any cgroup below it, other than over lo.
    ///
    /// It is only read when it is in place. What else somebody has put into our table is
    /// removed, for it could let packets pass.
    ///
    /// # Errors
    ///
    /// When it isn't in place afterwards.
    pub fn ensure(parent: u64, level: u32) -> Result<(), BackstopError> {
        let parent = ParentCgroup { id: parent, level };
        let mut netlink = Netlink::open().map_err(BackstopError::Open)?;
        let found = Found::read(&mut netlink).map_err(BackstopError::Read)?;
        if found.as_ref().is_some_and(|found| found.holds(parent)) {
            return Ok(());
        }
        netlink.execute(repair(found.as_ref(), parent)).map_err(BackstopError::Change)?;
        match Found::read(&mut netlink).map_err(BackstopError::Read)? {
            Some(found) if found.holds(parent) => Ok(()),
            Some(_) | None => Err(BackstopError::NotInPlace),
        }
    }

    /// Takes away what holds `parent` back, and the table with its last rule. Nothing to take
    /// away is no error.
    ///
    /// # Errors
    ///
    /// When the rules can't be read or changed.
    pub fn remove(parent: u64) -> Result<(), BackstopError> {
        let mut netlink = Netlink::open().map_err(BackstopError::Open)?;
        let Some(found) = Found::read(&mut netlink).map_err(BackstopError::Read)? else {
            return Ok(());
        };
        let (its, others): (Vec<_>, Vec<_>) = found
            .rules()
            .iter()
            .copied()
            .partition(|rule| rule.parent.is_some_and(|found| found.id == parent));
        if its.is_empty() {
            return Ok(());
        }
        let table = table();
        let chain = chain(&table);
        let mut changes = Changes::new();
        if others.is_empty() {
            changes.delete(&table);
        } else {
            for found in its {
                let mut rule = Rule::new(&chain);
                rule.set_handle(found.handle);
                changes.delete(&rule);
            }
        }
        netlink.execute(changes).map_err(BackstopError::Change)
    }

    /// Takes the whole table away. Nothing to take away is no error.
    ///
    /// # Errors
    ///
    /// When the rules can't be read or changed.
    pub fn remove_all() -> Result<(), BackstopError> {
        let mut netlink = Netlink::open().map_err(BackstopError::Open)?;
        if Found::read(&mut netlink).map_err(BackstopError::Read)?.is_none() {
            return Ok(());
        }
        let mut changes = Changes::new();
        changes.delete(&table());
        netlink.execute(changes).map_err(BackstopError::Change)
    }
}

/// The changes that put the rule for `parent` in place, at once: no packet sees the table half
/// made.
fn repair(found: Option<&Found>, parent: ParentCgroup) -> Changes {
    let table = table();
    let chain = chain(&table);
    let mut changes = Changes::new();
    // Adding what is there already changes nothing.
    changes.add(&table);
    let mut missing = vec![parent];
    if let Some(found) = found.filter(|found| !found.is_sound()) {
        warn!("somebody has changed httpjail's nftables table; it is made anew");
        changes.delete(&table);
        changes.add(&table);
        missing.extend(found.parents().filter(|&other| other != parent));
    }
    changes.add(&chain);
    for parent in missing {
        changes.add(&parent.rule(&chain));
    }
    changes
}

fn table() -> Table {
    Table::new(TABLE, ProtoFamily::Inet)
}

fn chain(table: &Table) -> Chain<'_> {
    let mut chain = Chain::new(CHAIN, table);
    chain.set_type(ChainType::Filter);
    chain.set_hook(Hook::Out, PRIORITY);
    chain.set_policy(Policy::Accept);
    chain
}
