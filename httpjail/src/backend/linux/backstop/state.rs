//! What of the backstop is in place.

use std::{ffi::CStr, io};

use super::{
    attributes::Attributes,
    netlink::{Netlink, Question},
    rule::ParentCgroup,
};

/// The table's name, in the family `inet`.
pub(super) const TABLE: &CStr = c"httpjail";
/// The chain's name.
pub(super) const CHAIN: &CStr = c"output";
/// The chain's priority (`NF_IP_PRI_FILTER`).
pub(super) const PRIORITY: i32 = 0;

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;

/// How often a dump is taken again because other programs changed their rules meanwhile.
const DUMPS: usize = 16;

/// Our table, as it was found.
#[derive(Debug)]
pub(super) struct Found {
    frame: Frame,
    rules: Vec<FoundRule>,
}

/// What holds the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    /// The table is active and the chain is where packets pass.
    Sound,
    /// Somebody has put the table to sleep, or taken away or replaced the chain.
    Damaged,
}

/// A rule in our chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FoundRule {
    /// By which the kernel knows it.
    pub(super) handle: u64,
    /// Whom it holds back; `None` when it isn't one of ours, and so may let something pass.
    pub(super) parent: Option<ParentCgroup>,
}

impl Found {
    /// Reads the table back; `None` when there is none.
    pub(super) fn read(netlink: &mut Netlink) -> io::Result<Option<Self>> {
        let mut awake = false;
        let table = netlink.ask(Question::Table(TABLE), |table| {
            // Any flag is foreign: a dormant table drops nothing, an owned one isn't ours.
            awake = table.number(NFTA_TABLE_FLAGS) == Some(0);
        });
        if !exists(table)? {
            return Ok(None);
        }
        let mut hooked = false;
        let chain = netlink.ask(Question::Chain(TABLE, CHAIN), |chain| hooked = is_hooked(chain));
        let frame = match exists(chain)? && awake && hooked {
            true => Frame::Sound,
            false => Frame::Damaged,
        };
        Ok(Some(Self { frame, rules: read_rules(netlink)? }))
    }

    /// Whether nothing but rules of ours is there, and they work.
    pub(super) fn is_sound(&self) -> bool {
        self.frame == Frame::Sound && self.rules.iter().all(|rule| rule.parent.is_some())
    }

    /// Whether this cgroup is held back.
    pub(super) fn holds(&self, parent: ParentCgroup) -> bool {
        self.is_sound() && self.parents().any(|found| found == parent)
    }

    /// The cgroups that rules of ours are about.
    pub(super) fn parents(&self) -> impl Iterator<Item = ParentCgroup> {
        self.rules.iter().filter_map(|rule| rule.parent)
    }

    /// All rules of the chain.
    pub(super) fn rules(&self) -> &[FoundRule] {
        &self.rules
    }
}

fn is_hooked(chain: Attributes<'_>) -> bool {
    let Some(hook) = chain.nested(NFTA_CHAIN_HOOK) else { return false };
    let priority = hook.number(NFTA_HOOK_PRIORITY).map(u32::cast_signed);
    hook.number(NFTA_HOOK_HOOKNUM) == Some(libc::NF_INET_LOCAL_OUT as u32)
        && priority == Some(PRIORITY)
        && chain.is_text(NFTA_CHAIN_TYPE, c"filter")
}

fn read_rules(netlink: &mut Netlink) -> io::Result<Vec<FoundRule>> {
    let mut outcome = Err(io::ErrorKind::Interrupted.into());
    for _ in 0..DUMPS {
        let mut rules = Vec::new();
        outcome = netlink.ask(Question::Rules(TABLE, CHAIN), |rule| rules.extend(read_rule(rule)));
        match &outcome {
            Ok(()) => return Ok(rules),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    outcome.map(|()| Vec::new())
}

/// A rule of our chain; kernels before 4.6 dump the rules of all chains.
fn read_rule(rule: Attributes<'_>) -> Option<FoundRule> {
    let ours = rule.is_text(NFTA_RULE_TABLE, TABLE) && rule.is_text(NFTA_RULE_CHAIN, CHAIN);
    let parent = rule.nested(NFTA_RULE_EXPRESSIONS).and_then(ParentCgroup::of_rule);
    ours.then_some(FoundRule { handle: rule.long_number(NFTA_RULE_HANDLE)?, parent })
}

fn exists(outcome: io::Result<()>) -> io::Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
