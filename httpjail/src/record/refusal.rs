//! What the kernel side refused, in records and in the summary.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    time::SystemTime,
};

use super::{exchange::Client, json, ledger::Ledger};
use crate::policy::{Authority, Process};

/// How many programs are named for each reason in the summary.
const PROGRAMS: usize = 5;

/// What the kernel side refused one program for one reason and destination, or, without a program,
/// what is left of a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRefusal {
    /// Why, in a word.
    pub reason: &'static str,
    /// When it came up first.
    pub time: SystemTime,
    /// Which program, where one is known: its first process.
    pub process: Option<Process>,
    /// By which IP protocol, where one is known.
    pub protocol: Option<u32>,
    /// Where to, or for what came in where from, where that is known.
    pub target: Option<Authority>,
    /// How often.
    pub count: u64,
}

impl Ledger {
    /// Records what the kernel side refused.
    pub(super) fn kernel_refusal(&self, refusal: &KernelRefusal) {
        let KernelRefusal { reason, time, process, protocol, target, count } = refusal;
        let mut line = self.begin("kernel-refusal", *time);
        Client::new(process.as_ref(), None).push(&mut line);
        json::text(&mut line, "decision", "deny");
        json::text(&mut line, "reason", *reason);
        json::key(&mut line, "protocol");
        match protocol {
            Some(number) => json::display(&mut line, format_args!("\"{}\"", Protocol(*number))),
            None => line.push_str("null"),
        }
        json::key(&mut line, "host");
        match target {
            // A canonical host needs no escapes.
            Some(target) => json::display(&mut line, format_args!("\"{}\"", target.host())),
            None => line.push_str("null"),
        }
        let port = target.as_ref().map(Authority::port).filter(|port| *port != 0);
        json::number(&mut line, "port", port.map(u64::from));
        json::number(&mut line, "count", *count);
        self.write(line);
    }
}

/// An IP protocol by its name (IANA), or its number.
struct Protocol(u32);

impl Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("icmp"),
            6 => f.write_str("tcp"),
            17 => f.write_str("udp"),
            58 => f.write_str("icmpv6"),
            132 => f.write_str("sctp"),
            136 => f.write_str("udplite"),
            255 => f.write_str("raw"),
            number => write!(f, "{number}"),
        }
    }
}

/// How often each reason came up, and whom it met, in one line.
pub(super) fn summed_up(refusals: &[KernelRefusal]) -> String {
    let mut reasons: Vec<(&str, u64, BTreeMap<String, u64>)> = Vec::new();
    for refusal in refusals {
        let at = reasons.iter().position(|(reason, ..)| *reason == refusal.reason);
        let at = at.unwrap_or_else(|| {
            reasons.push((refusal.reason, 0, BTreeMap::new()));
            reasons.len() - 1
        });
        let Some((_, count, programs)) = reasons.get_mut(at) else { continue };
        *count += refusal.count;
        if let Some(process) = &refusal.process {
            *programs.entry(plain(&process.comm)).or_default() += refusal.count;
        }
    }
    let each = reasons.into_iter().map(|(reason, count, programs)| {
        format!("{reason} {count}{}", by_program(count, programs))
    });
    each.collect::<Vec<_>>().join(", ")
}

fn by_program(all: u64, programs: BTreeMap<String, u64>) -> String {
    if programs.is_empty() {
        return String::new();
    }
    let mut programs: Vec<_> = programs.into_iter().collect();
    programs.sort_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
    programs.truncate(PROGRAMS);
    let shown: u64 = programs.iter().map(|(_, count)| count).sum();
    let mut each: Vec<_> =
        programs.into_iter().map(|(program, count)| format!("{program} {count}")).collect();
    if all > shown {
        each.push(format!("others {}", all - shown));
    }
    format!(" ({})", each.join(", "))
}

/// A thread's name, which is what a jailed program wants it to be, as a word that neither steers a
/// terminal nor is markup.
fn plain(comm: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.+:/@".contains(c);
    comm.chars().map(|c| if is_plain(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn refusal(reason: &'static str, comm: Option<&str>, count: u64) -> KernelRefusal {
        let process = comm.map(|comm| Process { pid: 7, uid: 1000, comm: comm.to_owned() });
        let time = UNIX_EPOCH;
        KernelRefusal { reason, time, process, protocol: None, target: None, count }
    }

    #[test]
    fn programs_are_told_the_busiest_first() {
        let refusals = [
            refusal("udp", Some("node"), 2),
            refusal("udp", Some("curl"), 3),
            refusal("protocol", Some("ping"), 1),
            refusal("udp", Some("node"), 4),
            refusal("udp", None, 5),
            refusal("inbound", None, 1),
        ];
        let text = summed_up(&refusals);
        assert_eq!(text, "udp 14 (node 6, curl 3, others 5), protocol 1 (ping 1), inbound 1");
    }

    #[test]
    fn names_of_programs_are_plain_words() {
        let text = summed_up(&[refusal("udp", Some("\u{1b}[2J`<b>|*é"), 1)]);
        assert_eq!(text, "udp 1 (??2J??b???? 1)");
        let many: Vec<_> =
            (0..9).map(|n| refusal("udp", Some(["a", "b", "c"][n % 3]), 1)).collect();
        assert_eq!(summed_up(&many), "udp 9 (a 3, b 3, c 3)");
        let names = ["a", "b", "c", "d", "e", "f", "g"];
        let many = names.map(|name| refusal("udp", Some(name), 1));
        assert_eq!(summed_up(&many), "udp 7 (a 1, b 1, c 1, d 1, e 1, others 2)");
    }
}
