//! The rule itself: how it is written, and how it is recognised.

use nftnl::{
    Chain, Rule,
    expr::{Cmp, CmpOp, Meta, Socket, SocketKey, Verdict},
};

use super::attributes::Attributes;

/// The loopback device has this index in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

// include/uapi/linux/netfilter/nf_tables.h
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFTA_SOCKET_KEY: u16 = 1;
const NFTA_SOCKET_DREG: u16 = 2;
const NFTA_SOCKET_LEVEL: u16 = 3;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;

/// A parent cgroup, as the kernel compares it: its id, and how deep below the root of the
/// hierarchy it is (a child of the root: 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParentCgroup {
    pub(super) id: u64,
    pub(super) level: u32,
}

impl ParentCgroup {
    /// The rule that drops what leaves this cgroup, or one below it, other than over lo.
    pub(super) fn rule<'a>(self, chain: &'a Chain<'_>) -> Rule<'a> {
        let mut rule = Rule::new(chain);
        // The device first: it is the cheaper test, and most of a busy machine's packets that
        // matter to a jail stay on lo.
        rule.add_expr(&Meta::Oif);
        rule.add_expr(&Cmp::new(CmpOp::Neq, LOOPBACK));
        rule.add_expr(&Socket::new(SocketKey::CgroupV2, self.level));
        rule.add_expr(&Cmp::new(CmpOp::Eq, self.id));
        rule.add_expr(&Verdict::Drop);
        rule
    }

    /// The cgroup of a rule, given its list of expressions; `None` when it isn't exactly
    /// [`Self::rule`].
    pub(super) fn of_rule(expressions: Attributes<'_>) -> Option<Self> {
        let expressions = expressions
            .map(|(kind, element)| match kind {
                NFTA_LIST_ELEM => Expression::read(Attributes::new(element)),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()?;
        match expressions.as_slice() {
            [
                Expression::OutgoingDevice,
                Expression::NotEqual(device),
                Expression::CgroupAt(level),
                Expression::Equal(id),
                Expression::Drop,
            ] if *device == LOOPBACK.to_ne_bytes() => {
                Some(Self { id: u64::from_ne_bytes((*id).try_into().ok()?), level: *level })
            }
            _ => None,
        }
    }
}

/// An expression of a rule of ours; all of them work on the first register.
#[derive(Debug, PartialEq, Eq)]
enum Expression<'a> {
    OutgoingDevice,
    CgroupAt(u32),
    Equal(&'a [u8]),
    NotEqual(&'a [u8]),
    Drop,
}

impl<'a> Expression<'a> {
    fn read(element: Attributes<'a>) -> Option<Self> {
        let data = element.nested(NFTA_EXPR_DATA)?;
        match element.bytes(NFTA_EXPR_NAME)? {
            b"meta\0" => Self::read_meta(data),
            b"socket\0" => Self::read_socket(data),
            b"cmp\0" => Self::read_comparison(data),
            b"immediate\0" => Self::read_verdict(data),
            _ => None,
        }
    }

    fn read_meta(data: Attributes<'_>) -> Option<Self> {
        let key = data.number(NFTA_META_KEY)?;
        let first = is_register(data, NFTA_META_DREG, libc::NFT_REG_1);
        (first && key == Meta::Oif.to_raw_key()).then_some(Self::OutgoingDevice)
    }

    fn read_socket(data: Attributes<'_>) -> Option<Self> {
        let key = data.number(NFTA_SOCKET_KEY)?;
        let first = is_register(data, NFTA_SOCKET_DREG, libc::NFT_REG_1);
        let level = data.number(NFTA_SOCKET_LEVEL)?;
        (first && key == SocketKey::CgroupV2.to_raw()).then_some(Self::CgroupAt(level))
    }

    fn read_comparison(data: Attributes<'a>) -> Option<Self> {
        let value = data.nested(NFTA_CMP_DATA)?.bytes(NFTA_DATA_VALUE)?;
        if !is_register(data, NFTA_CMP_SREG, libc::NFT_REG_1) {
            return None;
        }
        match data.number(NFTA_CMP_OP)? {
            op if op == CmpOp::Eq.to_raw() => Some(Self::Equal(value)),
            op if op == CmpOp::Neq.to_raw() => Some(Self::NotEqual(value)),
            _ => None,
        }
    }

    fn read_verdict(data: Attributes<'_>) -> Option<Self> {
        let verdict = data.nested(NFTA_IMMEDIATE_DATA)?.nested(NFTA_DATA_VERDICT)?;
        let code = verdict.number(NFTA_VERDICT_CODE)?;
        let decides = is_register(data, NFTA_IMMEDIATE_DREG, libc::NFT_REG_VERDICT);
        (decides && code == libc::NF_DROP as u32).then_some(Self::Drop)
    }
}

fn is_register(data: Attributes<'_>, kind: u16, register: libc::c_int) -> bool {
    data.number(kind).is_some_and(|found| i64::from(found) == i64::from(register))
}
